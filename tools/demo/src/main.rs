// SPDX-License-Identifier: MPL-2.0
//! `make demo`: the main job with real parts. An nginx serves test/data.json. A kea-dhcp4 with the
//! hook section of test/kea-dhcp4.conf asks nginx. The project's own client, as relay agent and
//! client, asks Kea. Then the hook's log, its status and its statistics are shown. Everything runs on loopback and on free unprivileged ports, and is stopped in
//! the end. The demo fails unless OFFER and ACK carry what data.json says.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::nginx::Nginx;
use remote_opts_test_support::project;

/// What the client sends: option 82 of a relay agent, with circuit-id "foo" and remote-id "bar",
/// and the user class "test".
const CLIENT: [&str; 6] = ["--circuit-id", "foo", "--remote-id", "bar", "--user-class", "test"];

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
    let test = project().join("test");
    let nginx = start_nginx(&test)?;
    let url = nginx.url("/data.json");
    let answer: Value = reqwest::blocking::get(&url)?.error_for_status()?.json()?;
    println!("nginx       answers {answer} at {url}");

    let mut parameters =
        read_json(&test.join("kea-dhcp4.conf"))?["Dhcp4"]["hooks-libraries"][0]["parameters"]
            .take();
    parameters["url"] = url.into();
    let mut kea = Setup::new(Threads::Four).hook_as_given(parameters.clone()).try_start()?;
    let (server, relay) = kea.hand_over_relay();
    println!("kea-dhcp4   listens on {server}, the hook's parameters are {parameters}");

    let result = run_client(&answer, &server.to_string(), &relay.port().to_string());
    // The first request is the demo's own, above.
    for access in nginx.accesses()?.iter().skip(1) {
        println!("nginx saw   {}", access.request);
    }
    if let Err(error) = result {
        kea.log().iter().for_each(|line| eprintln!("{line}"));
        return Err(error);
    }
    show_log(&kea);
    show_status(&kea)?;
    show_statistics(&kea)?;
    let end = kea.stop();
    ensure!(end.status.success(), "kea-dhcp4 ended with {}", end.status);
    println!("OFFER and ACK carry the answer of nginx: {answer}");
    Ok(())
}

/// Starts an nginx with the site and the file of docker-compose.yml, which names port 80 and a
/// folder of the nginx image.
fn start_nginx(test: &Path) -> Result<Nginx> {
    let site = fs::read_to_string(test.join("nginx.conf"))?
        .replace("listen 80;", "listen ADDRESS;")
        .replace("/usr/share/nginx/html", "FOLDER");
    Nginx::start(&site, &[("data.json", &fs::read(test.join("data.json"))?)])
}

/// Runs the client. The client fails unless both replies carry all of `answer`.
fn run_client(answer: &Value, server: &str, relay_port: &str) -> Result<()> {
    let mut arguments =
        vec!["--server", server, "--giaddr", "127.0.0.1", "--relay-port", relay_port];
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
    let client = client()?;
    println!("\n$ {} {}", client.display(), arguments.join(" "));
    let status = Command::new(&client)
        .args(&arguments)
        .status()
        .with_context(|| client.display().to_string())?;
    println!();
    ensure!(status.success(), "the client ended with {status}");
    Ok(())
}

/// Shows what the hook wrote into Kea's log.
fn show_log(kea: &Kea) {
    println!("\nThe log of Kea says about the hook:\n");
    let ours = kea.log().into_iter().filter(|line| line.contains(HOOK_LOGGER));
    ours.for_each(|line| println!("  {line}"));
}

/// Asks the hook on Kea's control socket what it does, and shows the response in words.
fn show_status(kea: &Kea) -> Result<()> {
    let response = kea.command("remote-opts-status")?;
    let (status, text) = (&response["arguments"], &response["text"]);
    let text = text.as_str().with_context(|| format!("remote-opts-status: {response}"))?;
    println!("\nThe command remote-opts-status says: {text}\n");
    for service in status["services"].as_array().into_iter().flatten() {
        let url = service["url"].as_str().unwrap_or_default();
        println!(
            "  {url} is {}, its last answer came {} s ago",
            service["state"].as_str().unwrap_or_default(),
            service["last-answer-ago"]
        );
    }
    println!(
        "  {} packets are parked, {} lookups are in flight, {} stand in line",
        status["parked"], status["in-flight"], status["in-line"]
    );
    let cache = &status["cache"];
    println!("  answers kept: {} ({} bytes)", cache["answers"], cache["bytes"]);
    Ok(())
}

/// Shows the statistics of the hook that are not 0.
fn show_statistics(kea: &Kea) -> Result<()> {
    let response = kea.command("statistic-get-all")?;
    let all = response["arguments"].as_object();
    let all = all.with_context(|| format!("statistic-get-all: {response}"))?;
    println!("\nThe command statistic-get-all has these statistics of the hook that are not 0:\n");
    for (name, samples) in all.iter().filter(|(name, _)| name.starts_with("remote-opts-")) {
        let value = &samples[0][0];
        if value != 0 {
            println!("  {name:<40} {value}");
        }
    }
    println!();
    Ok(())
}

/// The client's program. Cargo puts it into the folder of the demo's own program. The path is
/// relative to the present folder where it can be, so that a person can type the command line that
/// is shown.
fn client() -> Result<PathBuf> {
    let client = env::current_exe()?.with_file_name("remote-opts-client");
    ensure!(
        client.is_file(),
        "{} is missing: cargo build --locked -p remote-opts-client",
        client.display()
    );
    let here = env::current_dir()?;
    Ok(client.strip_prefix(here).map(Path::to_path_buf).unwrap_or(client))
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
