//! A real kea-dhcp4 on loopback: described by a [`Setup`], alive as long as its [`Kea`].

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::dhcp::{Client, Relay};
use super::{PATIENCE, library, wait_until_within};

/// The name of the hook's logger.
pub const HOOK_LOGGER: &str = "kea-dhcp4.remote-opts-hooks";

const CONFIGURATION: &str = "kea-dhcp4.conf";

/// Whether Kea can park a packet before it has chosen a subnet: from 2.5 on.
pub fn parks() -> bool {
    static PARKS: OnceLock<bool> = OnceLock::new();
    *PARKS.get_or_init(|| {
        let program = super::program("kea-dhcp4", "kea-dhcp4-server").expect("kea-dhcp4");
        let output = Command::new(program).arg("-v").output().expect("the output of kea-dhcp4 -v");
        let version = String::from_utf8(output.stdout).expect("ASCII");
        let mut numbers = version.trim().split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        (numbers.next(), numbers.next()) >= (Some(2), Some(5))
    })
}

/// Kea's multi-threading: off, or on with four threads for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    One,
    Four,
}

/// The configuration of a server to be started.
#[derive(Clone)]
pub struct Setup {
    dhcp4: Map<String, Value>,
    libraries: Vec<(PathBuf, Value)>,
    loggers: Vec<Value>,
    environment: Vec<(String, String)>,
    /// A program that runs Kea, with its arguments.
    runner: Vec<String>,
    quiet: bool,
    relay_ports: bool,
}

impl Setup {
    /// One subnet for the relay on loopback, leases in memory, the log at INFO, no hook.
    pub fn new(threads: Threads) -> Setup {
        let dhcp4 = json!({
            "interfaces-config": { "interfaces": ["lo"], "dhcp-socket-type": "udp", "re-detect": false },
            "lease-database": { "type": "memfile", "persist": false },
            "multi-threading": { "enable-multi-threading": threads == Threads::Four, "thread-pool-size": 4 },
            // For ever: what Kea 3.0 tells on a renewal is the rest of the lease's time.
            "valid-lifetime": u32::MAX,
            "subnet4": [{
                "id": 1,
                "subnet": "10.77.0.0/16",
                "pools": [{ "pool": "10.77.1.0-10.77.250.255" }],
                "relay": { "ip-addresses": ["127.0.0.1"] },
            }],
        });
        let Value::Object(dhcp4) = dhcp4 else { unreachable!() };
        let setup = Setup {
            dhcp4,
            libraries: Vec::new(),
            loggers: Vec::new(),
            environment: Vec::new(),
            runner: Vec::new(),
            quiet: false,
            relay_ports: false,
        };
        setup.logger("kea-dhcp4", "INFO")
    }

    /// Adds the hook library, with these parameters. In tests that do not say how much time a lookup has, it has more than
    /// it takes on a busy machine.
    pub fn hook(self, mut parameters: Value) -> Setup {
        if cfg!(test) && !parameters["url"].is_null() && parameters["timeout"].is_null() {
            parameters["timeout"] = json!(10_000);
        }
        self.library(&library::path(), parameters)
    }

    /// Adds any hook library, after those added before.
    pub fn library(mut self, path: &Path, parameters: Value) -> Setup {
        self.libraries.push((path.to_path_buf(), parameters));
        self
    }

    /// Sets an entry of the `Dhcp4` map.
    pub fn set(mut self, name: &str, value: Value) -> Setup {
        self.dhcp4.insert(name.to_string(), value);
        self
    }

    /// Adds a pool of the relay's subnet, for the clients of this class.
    pub fn add_pool(mut self, pool: &str, client_class: &str) -> Setup {
        let pools = self.dhcp4["subnet4"][0]["pools"].as_array_mut().expect("a list of pools");
        pools.insert(0, json!({ "pool": pool, "client-class": client_class }));
        self
    }

    /// Adds subnets, after the relay's.
    pub fn add_subnets(mut self, subnets: Vec<Value>) -> Setup {
        self.dhcp4["subnet4"].as_array_mut().expect("a list of subnets").extend(subnets);
        self
    }

    /// Has Kea send this option to each client, whether it asks for it or not.
    pub fn option(self, name: &str, data: &str) -> Setup {
        self.set("option-data", json!([{ "name": name, "data": data, "always-send": true }]))
    }

    /// Logs all that the logger of this name has to say.
    pub fn debug(self, logger: &str) -> Setup {
        self.logger(logger, "DEBUG")
    }

    /// Logs what is WARN and above alone.
    pub fn quiet(mut self) -> Setup {
        self.quiet = true;
        self.logger("kea-dhcp4", "WARN")
    }

    /// Has another program run Kea.
    pub fn under(mut self, runner: &[&str]) -> Setup {
        self.runner = runner.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Has Kea reply to the port of the relay agent that asks for it (RFC 8357), and no longer to that of [`Kea::client`].
    pub fn relay_ports(mut self) -> Setup {
        self.relay_ports = true;
        self
    }

    /// Sets a variable in Kea's environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    pub fn start(&self) -> Kea {
        self.try_start().unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub fn try_start(&self) -> Result<Kea> {
        match self.launch()? {
            Launch::Started(kea) => Ok(kea),
            Launch::Refused(end) => {
                bail!("kea-dhcp4 did not start ({}):\n{}", end.status, end.log.join("\n"))
            }
        }
    }

    /// For a configuration that Kea is to refuse: how it ended.
    pub fn refused(&self) -> End {
        match self.launch().unwrap_or_else(|error| panic!("{error:#}")) {
            Launch::Refused(end) => end,
            Launch::Started(_) => panic!("kea-dhcp4 started with a configuration that it was to refuse"),
        }
    }

    fn logger(mut self, name: &str, severity: &str) -> Setup {
        self.loggers.retain(|logger| logger["name"] != name);
        self.loggers.push(json!({
            "name": name,
            "severity": severity,
            "debuglevel": if severity == "DEBUG" { 99 } else { 0 },
            "output_options": [{ "output": "stdout", "flush": true, "pattern": "%p [%c] %m\n" }],
        }));
        self
    }

    fn launch(&self) -> Result<Launch> {
        for _ in 0..20 {
            let kea = self.spawn()?;
            if self.quiet {
                // It does not say when it is ready, but takes no command before.
                wait_until_within(2 * PATIENCE, || kea.command("version-get").is_ok() || kea.log.has_ended());
            }
            let outcome = kea.log.wait(|lines, ended| {
                let said = |id| lines.iter().any(|line| line.contains(id));
                // Another process took the port between our look and Kea's.
                if said("DHCPSRV_OPEN_SOCKET_FAIL") {
                    Some(Outcome::PortTaken)
                } else if said(" DHCP4_STARTED ") || (self.quiet && !ended) {
                    Some(Outcome::Started)
                } else {
                    ended.then_some(Outcome::Ended)
                }
            });
            match outcome {
                Some(Outcome::Started) => return Ok(Launch::Started(kea)),
                Some(Outcome::Ended) => return Ok(Launch::Refused(kea.wait())),
                Some(Outcome::PortTaken) => continue,
                None => bail!("kea-dhcp4 did not start in {PATIENCE:?}:\n{}", kea.log().join("\n")),
            }
        }
        bail!("no free UDP port for kea-dhcp4 after 20 tries")
    }

    fn spawn(&self) -> Result<Kea> {
        let program = super::program("kea-dhcp4", "kea-dhcp4-server")?;
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let relay = Relay::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));

        let folder = tempfile::Builder::new().prefix("kea-").tempdir()?;
        // What Kea 3.0 wants of a folder for control sockets.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750))?;
        let socket = folder.path().join("control");
        let configuration = folder.path().join(CONFIGURATION);
        fs::write(&configuration, self.configuration(folder.path(), &socket)?)?;

        // setpriv: should this process die without cleaning up, the kernel ends Kea. It does so when the thread
        // that started Kea ends, too: that thread has to outlive the `Kea`.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.runner)
            .arg(program)
            .arg("-c")
            .arg(configuration);
        command.args(["-p", &port.to_string()]);
        if !self.relay_ports {
            command.args(["-P", &relay.port().to_string()]);
        }
        for variable in ["KEA_PIDFILE_DIR", "KEA_CONTROL_SOCKET_DIR", "KEA_DHCP_DATA_DIR", "KEA_LOG_FILE_DIR"]
        {
            command.env(variable, folder.path());
        }
        command.env("KEA_LOCKFILE_DIR", "none").env("KEA_HOOKS_PATH", hooks(folder.path()));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("setpriv of Debian's util-linux")?;

        let log = Log::default();
        log.capture(child.stdout.take().context("Kea's output")?);
        log.capture(child.stderr.take().context("Kea's error output")?);
        Ok(Kea { child: Some(child), relay: Arc::new(relay), log, socket, folder })
    }

    fn configuration(&self, folder: &Path, socket: &Path) -> Result<String> {
        // From 2.6.3 on, Kea takes hook libraries from one folder alone.
        let hooks = hooks(folder);
        fs::create_dir(&hooks)?;
        let mut libraries = Vec::new();
        for (path, parameters) in &self.libraries {
            let link = hooks.join(path.file_name().context("a library's file name")?);
            symlink(path.canonicalize().with_context(|| path.display().to_string())?, &link)?;
            libraries.push(json!({ "library": link, "parameters": parameters }));
        }
        let mut dhcp4 = self.dhcp4.clone();
        dhcp4.insert("hooks-libraries".into(), Value::Array(libraries));
        dhcp4.insert("loggers".into(), Value::Array(self.loggers.clone()));
        dhcp4.insert("control-socket".into(), json!({ "socket-type": "unix", "socket-name": socket }));
        Ok(json!({ "Dhcp4": dhcp4 }).to_string())
    }
}

enum Launch {
    Started(Kea),
    Refused(End),
}

enum Outcome {
    Started,
    Ended,
    PortTaken,
}

fn hooks(folder: &Path) -> PathBuf {
    folder.join("hooks")
}

/// A running server. Dropped, it is stopped and its files are removed; a test that fails prints its log.
pub struct Kea {
    /// `None` once it has been waited for.
    child: Option<Child>,
    relay: Arc<Relay>,
    log: Log,
    socket: PathBuf,
    /// Holds the configuration and the sockets.
    folder: TempDir,
}

impl Kea {
    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// A new client behind the relay.
    pub fn client(&self) -> Client {
        Client::new(Arc::clone(&self.relay))
    }

    /// Gives the relay's place to another program: where Kea listens, and where it sends its replies to.
    /// No [`Kea::client`] gets a reply from here on.
    pub fn hand_over_relay(&mut self) -> (SocketAddr, SocketAddr) {
        let addresses = self.relay.addresses();
        self.relay = Arc::new(Relay::bind(addresses.0));
        addresses
    }

    /// Where Kea listens.
    pub fn address(&self) -> SocketAddr {
        self.relay.addresses().0
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map(Child::id).expect("a running Kea")
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.shared.0.lock().unwrap().lines.clone()
    }

    /// How many lines of the log so far have this message.
    pub fn count(&self, message: &str) -> usize {
        self.log().iter().filter(|line| line.contains(message)).count()
    }

    /// Waits for a line of the log that has all of these parts.
    #[track_caller]
    pub fn logged(&self, parts: &[&str]) -> String {
        let wanted = |line: &&String| parts.iter().all(|part| line.contains(part));
        let line = self.log.wait(|lines, _| lines.iter().find(wanted).cloned());
        line.unwrap_or_else(|| panic!("Kea did not log {parts:?} in {PATIENCE:?}"))
    }

    /// Gives a command to the control socket and returns its answer.
    pub fn command(&self, name: &str) -> Result<Value> {
        self.command_with(name, json!({}))
    }

    /// As [`Kea::command`], with the command's arguments.
    pub fn command_with(&self, name: &str, arguments: Value) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(json!({ "command": name, "arguments": arguments }).to_string().as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// The `config-reload` command, which has to succeed.
    pub fn reload(&self) -> Result<()> {
        let answer = self.command("config-reload")?;
        ensure!(answer["result"] == 0, "config-reload: {answer}");
        Ok(())
    }

    /// The configuration that it was started with.
    pub fn configuration(&self) -> Value {
        let text =
            fs::read_to_string(self.folder.path().join(CONFIGURATION)).expect("the configuration file");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The `config-set` command, which has to succeed.
    pub fn set_configuration(&self, configuration: Value) -> Result<()> {
        let answer = self.command_with("config-set", configuration)?;
        ensure!(answer["result"] == 0, "config-set: {answer}");
        Ok(())
    }

    /// The present value of a statistic, `None` where Kea has none of this name.
    pub fn statistic(&self, name: &str) -> Option<i64> {
        let answer = self.command_with("statistic-get", json!({ "name": name }));
        answer.expect("an answer to statistic-get")["arguments"][name][0][0].as_i64()
    }

    /// Asks it to end (SIGTERM) and does not wait.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Asks it to end and waits until it has.
    pub fn stop(self) -> End {
        self.terminate();
        self.wait()
    }

    /// Waits until it has ended, of itself or as it was asked before.
    pub fn wait(mut self) -> End {
        let status =
            self.wait_at_most(PATIENCE).unwrap_or_else(|| panic!("kea-dhcp4 did not end in {PATIENCE:?}"));
        self.log.wait(|_, ended| ended.then_some(()));
        let log = self.log();
        let without_text = log.iter().find(|line| line.contains("@@Missing"));
        assert_eq!(without_text, None, "a message without its text");
        End { status, log }
    }

    fn wait_at_most(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        let child = self.child.as_mut()?;
        loop {
            if let Some(status) = child.try_wait().expect("the status of our own child") {
                self.child = None;
                return Some(status);
            }
            if Instant::now() > end {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by itself; it has not been waited for, so the number is still its own.
        let pid = i32::try_from(self.pid()).expect("a process id");
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

impl Drop for Kea {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::SIGTERM);
            if self.wait_at_most(Duration::from_secs(5)).is_none() {
                self.signal(Signal::SIGKILL);
                self.wait_at_most(Duration::from_secs(5));
            }
        }
        if thread::panicking() {
            eprintln!("The log of kea-dhcp4 in {}:\n{}", self.folder.path().display(), self.log().join("\n"));
        }
    }
}

/// How a server ended, and all that it logged.
pub struct End {
    pub status: ExitStatus,
    pub log: Vec<String>,
}

impl End {
    /// The hook's lines of WARN and above.
    pub fn complaints(&self) -> Vec<&str> {
        let hook = format!("[{HOOK_LOGGER}]");
        let mut lines =
            self.log.iter().map(String::as_str).filter(|line| line.contains(&hook)).collect::<Vec<_>>();
        lines.retain(|line| ["WARN", "ERROR", "FATAL"].iter().any(|severity| line.starts_with(severity)));
        lines
    }

    /// Panics unless the server ended as asked, with no complaint of the hook's in all its life.
    #[track_caller]
    pub fn assert_clean(&self) {
        let log = self.log.join("\n");
        assert!(self.status.success(), "{} (signal {:?}):\n{log}", self.status, self.status.signal());
        assert!(self.complaints().is_empty(), "the hook complained:\n{log}");
    }
}

/// Kea's output, line by line.
#[derive(Clone, Default)]
struct Log {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    /// How many streams may still bring more.
    open: usize,
}

impl Log {
    fn capture(&self, stream: impl Read + Send + 'static) {
        self.shared.0.lock().unwrap().open += 1;
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                shared.0.lock().unwrap().lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().open -= 1;
            shared.1.notify_all();
        });
    }

    /// Whether nothing more can come.
    fn has_ended(&self) -> bool {
        self.shared.0.lock().unwrap().open == 0
    }

    /// Waits until `look`, given the lines so far and whether these are all, finds what it is for.
    fn wait<T>(&self, mut look: impl FnMut(&[String], bool) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.shared.0.lock().unwrap();
        loop {
            let found = look(&lines.lines, lines.open == 0);
            if found.is_some() || lines.open == 0 {
                return found;
            }
            let left = end.checked_duration_since(Instant::now())?;
            lines = self.shared.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}
