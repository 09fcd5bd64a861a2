// SPDX-License-Identifier: MPL-2.0
//! `make demo-boot`: real firmware boots what the service says. Two virtual machines boot through a
//! real relay agent: one by iPXE, the other by UEFI HTTP boot. Kea has the configurations of
//! examples/ipxe and examples/uefi-http. The service is an nginx with one file for each port, the
//! port's record; the same nginx has what the machines boot. Each machine boots twice, and one
//! record changes in between. The demo fails when a machine does not boot what its record says.
//!
//! Everything runs in network namespaces without names, and is stopped in the end: also after a
//! failure and after a signal.

mod boot_program;
mod console;
mod machine;
mod network;
mod relay_agent;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::nginx::{Access, Nginx};
use remote_opts_test_support::{examples, project, wait_until_within};

use crate::boot_program::{efi_program, greeting, ipxe_script};
use crate::machine::{Firmware, Machine, Step};
use crate::network::{MACHINES, Network, RELAY, SERVER};
use crate::relay_agent::RelayAgent;

/// How long a boot may take. It takes some seconds on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the examples call the host of the service and of the boot files. The firmware has no name
/// server here, so the server's address takes the place of the name.
const HOST: &str = "boot.example.net";

/// What the first record says and the second record does not.
const FIRST: &str = "debian-installer";
const SECOND: &str = "rescue";

/// The entries of an example's `Dhcp4` that name files of the machine.
const OF_THE_MACHINE: [&str; 4] =
    ["control-socket", "lease-database", "loggers", "hooks-libraries"];

/// The whole service: the record of the port that the relay agent's circuit-id names. A record that
/// has changed counts for the very next exchange.
const SITE: &str = "server {
    listen ADDRESS;
    root FOLDER;
    location = /api/dhcp {
        default_type application/json;
        add_header Cache-Control max-age=0;
        try_files /records/$arg_sub82_1.json =404;
    }
}";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo-boot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let folder = tempfile::Builder::new().prefix("demo-boot-").tempdir()?;
    let folder = folder.path();

    println!("== A machine boots by iPXE: the option ROM of QEMU's network card, examples/ipxe");
    let script = fs::read(project().join("examples/ipxe/boot.ipxe"))?;
    let files = [
        ("boot.ipxe", script),
        ("debian-installer.ipxe", ipxe_script("debian-installer.ipxe")),
        ("rescue.ipxe", ipxe_script("rescue.ipxe")),
    ];
    Part {
        example: "ipxe",
        port: "port1",
        mac: "52:54:00:00:00:01",
        names: "",
        option: "224",
        first_file: Some("/boot.ipxe"),
        firmware: Firmware::Ipxe,
        stop: &stop,
    }
    .run(&files)?;

    println!("\n== A machine boots by UEFI HTTP boot: the firmware of OVMF, examples/uefi-http");
    let files = [
        ("efi/x86-64/debian-installer.efi", efi_program("debian-installer.efi", folder)?),
        ("efi/x86-64/rescue.efi", efi_program("rescue.efi", folder)?),
    ];
    Part {
        example: "uefi-http",
        port: "port2",
        mac: "52:54:00:00:00:02",
        names: "&arch=0010&mac=52%3A54%3A00%3A00%3A00%3A02",
        option: "67",
        first_file: None,
        firmware: Firmware::uefi_http(folder)?,
        stop: &stop,
    }
    .run(&files)?;

    println!("\nBoth machines booted what their records say, before and after the change.");
    Ok(())
}

/// One machine, and all that it takes to boot.
struct Part<'a> {
    /// The folder of the example whose configuration Kea has.
    example: &'a str,
    /// The port of the relay agent that the machine is connected to.
    port: &'a str,
    mac: &'a str,
    /// What the request says about the machine besides the port.
    names: &'a str,
    /// The option whose value is the URL of what the machine boots.
    option: &'a str,
    /// What Kea's own configuration has the machine load first.
    first_file: Option<&'a str>,
    firmware: Firmware,
    /// Whether a signal asks the demo to end.
    stop: &'a AtomicBool,
}

/// The servers of a [`Part`].
struct Servers {
    nginx: Nginx,
    kea: Kea,
    relay_agent: RelayAgent,
    network: Network,
}

impl Part<'_> {
    /// Starts the servers and boots the machine twice.
    fn run(&self, files: &[(&str, Vec<u8>)]) -> Result<()> {
        let answer = project().join("examples").join(self.example).join("answer.json");
        let answer = fs::read_to_string(&answer).with_context(|| answer.display().to_string())?;
        let first = answer.replace(HOST, SERVER);
        let second = first.replace(FIRST, SECOND);
        ensure!(first != second, "no {FIRST} in the answer of examples/{}", self.example);
        let servers = self.start_servers(files)?;
        let outcome = [first, second]
            .iter()
            .try_for_each(|record| self.boot(&servers, &serde_json::from_str(record)?));
        if let Err(error) = outcome {
            if self.stopped() {
                return Err(error);
            }
            eprintln!("\nThe log of dhcrelay:\n{}", servers.relay_agent.log().join("\n"));
            eprintln!("\nThe log of kea-dhcp4:\n{}\n", servers.kea.log().join("\n"));
            return Err(error);
        }
        let end = servers.kea.stop();
        ensure!(end.status.success(), "kea-dhcp4 ended with {}", end.status);
        Ok(())
    }

    fn start_servers(&self, files: &[(&str, Vec<u8>)]) -> Result<Servers> {
        // Cargo may build the library here, outside of the namespaces.
        let setup = self.kea_setup()?;
        let network = Network::new(self.port)?;
        println!(
            "network     machine -- {}, relay agent {RELAY} -- Kea and nginx {SERVER}",
            self.port
        );
        let address = SocketAddr::from((SERVER.parse::<Ipv4Addr>()?, 80));
        let files: Vec<_> = files.iter().map(|(name, file)| (*name, file.as_slice())).collect();
        let nginx = network.server.inside(|| Nginx::start_at(address, SITE, &files))?;
        println!(
            "nginx       has a record for each port at http://{SERVER}/api/dhcp, and the boot files"
        );
        let kea = network.server.inside(|| setup.try_start())?;
        println!("kea-dhcp4   has examples/{}/kea-dhcp4.conf, and the hook", self.example);
        let relay_agent = network.relay.inside(|| RelayAgent::start(self.port))?;
        println!(
            "dhcrelay    writes the circuit-id \"{}\" ({}) into option 82",
            self.port,
            self.circuit_id()
        );
        Ok(Servers { nginx, kea, relay_agent, network })
    }

    /// The example's configuration. Files of the machine are elsewhere, and the address of the
    /// server takes the place of its name.
    fn kea_setup(&self) -> Result<Setup> {
        let dhcp4 = examples::dhcp4(self.example)?.to_string().replace(HOST, SERVER);
        let mut dhcp4: Value = serde_json::from_str(&dhcp4)?;
        let parameters = dhcp4["hooks-libraries"][0]["parameters"].take();
        let entries = dhcp4.as_object().context("a map Dhcp4")?.iter();
        Ok(entries
            .filter(|(name, _)| !OF_THE_MACHINE.contains(&name.as_str()))
            .fold(Setup::new(Threads::Four), |setup, (name, value)| setup.set(name, value.clone()))
            .hook_as_given(parameters)
            // A failure shows what the hook did.
            .debug(HOOK_LOGGER)
            .dhcp_ports())
    }

    /// Whether a signal asks the demo to end.
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The circuit-id as the request has it.
    fn circuit_id(&self) -> String {
        hex::encode_upper(self.port)
    }

    /// Writes the record, switches the machine on, and follows it until it ends.
    fn boot(&self, servers: &Servers, record: &Value) -> Result<()> {
        let file = format!("records/{}.json", self.circuit_id());
        servers.nginx.write(&file, record.to_string().as_bytes())?;
        println!("\nThe record of {} is now {record}", self.port);
        let question = format!("/api/dhcp?sub82_1={}{}", self.circuit_id(), self.names);
        ask(servers, &format!("http://{SERVER}{question}"))?;
        let url = record[self.option].as_str().context("an URL in the record")?;
        let mut boot = Boot {
            part: self,
            question,
            url,
            asked: false,
            loaded: false,
            greeted: false,
            accesses: servers.nginx.accesses()?.len(),
        };

        let begin = Instant::now();
        let (mut machine, command) =
            servers.network.relay.inside(|| Machine::start(&self.firmware, self.port, self.mac))?;
        println!("The machine is switched on.\n$ {command}\n");
        loop {
            let step = machine.step(Duration::from_millis(20));
            // A terminal sends SIGINT to QEMU, too. QEMU's end then is no news.
            ensure!(!self.stopped(), "a signal ends the demo");
            // nginx writes to its log before the machine can have acted on the response, or soon
            // after. The requests come first.
            boot.see_accesses(&servers.nginx)?;
            match step? {
                Step::Wrote(line) => boot.see_line(&line)?,
                Step::Nothing => {}
                Step::Ended => break,
            }
            ensure!(begin.elapsed() < PATIENCE, "{} in {PATIENCE:?}", boot.missing());
        }
        ensure!(boot.asked && boot.loaded && boot.greeted, "{}", boot.missing());
        println!("\nThe machine booted {url}, as its record says.");
        Ok(())
    }
}

/// Asks nginx as Kea will ask it, to show what Kea gets. The log of nginx has the request when the
/// function returns.
fn ask(servers: &Servers, url: &str) -> Result<()> {
    let accesses = || servers.nginx.accesses().map_or(0, |accesses| accesses.len());
    let before = accesses();
    let answer: Value = servers
        .network
        .server
        .inside(|| Ok(reqwest::blocking::get(url)?.error_for_status()?.json()?))?;
    println!("nginx       answers {answer} at {url}");
    ensure!(wait_until_within(PATIENCE, || accesses() > before), "nginx logs no request");
    Ok(())
}

/// What was seen of one boot.
struct Boot<'a> {
    part: &'a Part<'a>,
    /// The target of the request that Kea has to make.
    question: String,
    /// What the machine has to boot.
    url: &'a str,
    /// Whether Kea asked the service.
    asked: bool,
    /// Whether the machine loaded `url`.
    loaded: bool,
    /// Whether what the machine runs said its name.
    greeted: bool,
    /// How many requests nginx has answered.
    accesses: usize,
}

impl Boot<'_> {
    /// Looks at the requests that nginx has answered since the last call.
    fn see_accesses(&mut self, nginx: &Nginx) -> Result<()> {
        let accesses = nginx.accesses()?;
        for access in &accesses[self.accesses..] {
            if access.client.starts_with(MACHINES) {
                self.see_machine(access)?;
            } else {
                self.see_kea(access)?;
            }
        }
        self.accesses = accesses.len();
        Ok(())
    }

    fn see_kea(&mut self, access: &Access) -> Result<()> {
        let Access { request, status, agent, .. } = access;
        println!("nginx saw   {request} from Kea ({agent}): status {status}");
        let wanted = format!("GET {} HTTP/1.1", self.question);
        ensure!(*request == wanted, "Kea asks something else than {wanted}");
        ensure!(*status == 200, "nginx answers Kea with status {status}");
        self.asked = true;
        Ok(())
    }

    fn see_machine(&mut self, access: &Access) -> Result<()> {
        let Access { request, status, agent, client, .. } = access;
        println!("nginx saw   {request} from {client} ({agent}): status {status}");
        let mut words = request.split(' ');
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        if self.part.first_file != Some(path) {
            let loaded = format!("http://{SERVER}{path}");
            ensure!(loaded == self.url, "the machine loads {loaded} instead of {}", self.url);
            self.loaded |= method == Some("GET");
        }
        ensure!(*status == 200, "the machine cannot load {path}: status {status}");
        Ok(())
    }

    fn see_line(&mut self, line: &str) -> Result<()> {
        println!("console     {line}");
        self.greeted |= line == greeting(self.file_name());
        if self.part.firmware.gives_up(line) {
            bail!("the machine boots nothing: {}", self.missing());
        }
        Ok(())
    }

    fn file_name(&self) -> &str {
        let path = Path::new(self.url);
        path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The first thing that was to be seen and was not.
    fn missing(&self) -> String {
        if !self.asked {
            "Kea did not ask the service".to_owned()
        } else if !self.loaded {
            format!("the machine did not load {}", self.url)
        } else {
            format!("the console does not say \"{}\"", greeting(self.file_name()))
        }
    }
}
