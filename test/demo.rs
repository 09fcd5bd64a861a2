//! `make demo`: the main job against real parts. An nginx serves test/data.json; a kea-dhcp4 with the hook
//! section of test/kea-dhcp4.conf asks it; examples/dhcp-client.rs, as relay and client, asks Kea. All on
//! loopback and free unprivileged ports, and all stopped in the end. Fails unless both replies carry what
//! data.json says.

#[path = "support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use support::kea::{Setup, Threads};
use support::nginx::Nginx;

/// What the client sends: a relay's option 82 with circuit-id "foo" and remote-id "bar", and a user class.
const CLIENT: [&str; 4] = ["-c", "82,hex,0103666f6f0203626172", "-c", "77,str,test"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("test");
    let answer = read_json(&test.join("data.json"))?;
    let nginx = Nginx::start(&test.join("nginx.conf"), &test.join("data.json"))?;
    println!("nginx       answers {answer} at {}", nginx.url("/data.json"));

    let mut parameters =
        read_json(&test.join("kea-dhcp4.conf"))?["Dhcp4"]["hooks-libraries"][0]["parameters"].take();
    parameters["url"] = nginx.url("/data.json").into();
    let mut kea = Setup::new(Threads::Four).hook(parameters.clone()).try_start()?;
    let (server, relay) = kea.hand_over_relay();
    println!("kea-dhcp4   listens on {server}, the hook's parameters are {parameters}");

    let result = run_client(&answer, &server.to_string(), &relay.port().to_string());
    for request in nginx.requests()? {
        println!("nginx saw   {request}");
    }
    if let Err(error) = result {
        kea.log().iter().for_each(|line| eprintln!("{line}"));
        return Err(error);
    }
    let end = kea.stop();
    ensure!(end.status.success(), "kea-dhcp4 ended with {}", end.status);
    println!("OFFER and ACK carry what nginx said: {answer}");
    Ok(())
}

/// Runs the example client, which fails unless both replies carry all of `answer`.
fn run_client(answer: &Value, server: &str, relay_port: &str) -> Result<()> {
    let mut arguments = vec!["--server", server, "--giaddr", "127.0.0.1", "--relay-port", relay_port];
    arguments.extend(CLIENT);
    let expected: Vec<String> = answer
        .as_object()
        .context("test/data.json is no object")?
        .iter()
        .map(|(code, value)| format!("{code}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expectation in &expected {
        arguments.extend(["--expect", expectation]);
    }
    println!("\n$ cargo run --example dhcp-client -- {}", arguments.join(" "));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--release", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .args(["--example", "dhcp-client", "--"])
        .args(&arguments)
        .status()
        .context("cargo")?;
    println!();
    ensure!(status.success(), "the client ended with {status}");
    Ok(())
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
