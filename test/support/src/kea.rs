// SPDX-License-Identifier: MPL-2.0
//! A real kea-dhcp4, on loopback unless the caller sets other interfaces. A [`Setup`] describes the server; a [`Kea`] is the running server.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::mem;
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
use nix::sys::time::TimeValLike as _;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::dhcp::{Client, Relay};
use crate::http_channel::{self, Agent};
use crate::port::Port;
use crate::{PATIENCE, library, wait_until, wait_until_within};

/// The name of the hook's logger.
pub const HOOK_LOGGER: &str = "kea-dhcp4.remote-opts-hooks";

const CONFIGURATION: &str = "kea-dhcp4.conf";

/// The file of [`Setup::log_file`].
const LOG_FILE: &str = "kea.log";

/// Whether this machine's Kea can park a packet at the hook point subnet4_select: 2.5 and later
/// can.
pub fn parks() -> bool {
    version() >= (2, 5)
}

/// Whether this machine's Kea has an HTTP control channel of its own: 3.0 and later have one.
fn has_http_channel() -> bool {
    version() >= (3, 0)
}

/// Whether this machine's Kea comes with the hook libraries flex_id and host_cache: 3.0 and later
/// do, in the package of the server.
pub fn has_libraries_of_identifiers() -> bool {
    version() >= (3, 0)
}

/// The first two numbers of the version of this machine's Kea.
fn version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let program = crate::program("kea-dhcp4", "kea-dhcp4-server").expect("kea-dhcp4");
        let output = Command::new(program).arg("-v").output().expect("the output of kea-dhcp4 -v");
        let version = String::from_utf8(output.stdout).expect("ASCII");
        let mut numbers =
            version.trim().split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    })
}

/// The folder of the hook libraries that come with Kea's package.
pub fn packaged_hooks() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("the folder of libraries").flatten();
    let mut hooks = folders.map(|folder| folder.path().join("kea/hooks"));
    hooks.find(|hooks| hooks.is_dir()).expect("hook libraries, which Debian's Kea has")
}

/// Kea's multi-threading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Off: the main thread works on all packets.
    One,
    /// On, with four threads for packets.
    Four,
}

/// The configuration of a server to be started.
#[derive(Clone)]
pub struct Setup {
    dhcp4: Map<String, Value>,
    libraries: Vec<(PathBuf, Value)>,
    loggers: Vec<Value>,
    environment: Vec<(String, String)>,
    /// The lines of the log with this text are not kept.
    forgotten: Option<&'static str>,
    /// A program that runs Kea, with the program's arguments.
    runner: Vec<String>,
    /// Whether Kea logs nothing below WARN.
    quiet: bool,
    /// Whether Kea replies to the port that a relay agent sends from.
    relay_ports: bool,
    /// Whether leases survive a kill of Kea.
    leases_persist: bool,
    /// Whether Kea has the ports of DHCP.
    dhcp_ports: bool,
    /// Where commands come by HTTP.
    http: Option<Arc<Port>>,
    /// The relay agent of another server, which is also this server's.
    relay: Option<Arc<Relay>>,
}

impl Setup {
    /// A server with one subnet for the relay agent on loopback, leases in memory, the log at INFO,
    /// and no hook.
    pub fn new(threads: Threads) -> Setup {
        let dhcp4 = json!({
            "interfaces-config": {
                "interfaces": ["lo"],
                "dhcp-socket-type": "udp",
                "re-detect": false,
            },
            "lease-database": { "type": "memfile", "persist": false },
            "multi-threading": {
                "enable-multi-threading": threads == Threads::Four,
                "thread-pool-size": 4,
            },
            // For ever. In a renewal Kea 3.0 sends the rest of a lease's time, so that replies of
            // one client would differ.
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
            forgotten: None,
            runner: Vec::new(),
            quiet: false,
            relay_ports: false,
            leases_persist: false,
            dhcp_ports: false,
            http: None,
            relay: None,
        };
        setup.logger("kea-dhcp4", "INFO")
    }

    /// Adds the hook library with these parameters. Without a `timeout` among them, a lookup has
    /// ten seconds: more than it takes on a busy machine.
    pub fn hook(self, mut parameters: Value) -> Setup {
        if !parameters["url"].is_null() && parameters["timeout"].is_null() {
            parameters["timeout"] = json!(10_000);
        }
        self.hook_as_given(parameters)
    }

    /// Adds the hook library with exactly these parameters.
    pub fn hook_as_given(self, parameters: Value) -> Setup {
        self.library(library::path(), parameters)
    }

    /// Adds any hook library, after the libraries that were added before.
    pub fn library(mut self, path: &Path, parameters: Value) -> Setup {
        self.libraries.push((path.to_path_buf(), parameters));
        self
    }

    /// Adds a hook library of Kea's package, after the libraries that were added before.
    pub fn packaged(self, file: &str, parameters: Value) -> Setup {
        self.library(&packaged_hooks().join(file), parameters)
    }

    /// Has the server take the commands about leases, for [`Kea::lease`].
    pub fn lease_commands(self) -> Setup {
        self.packaged("libdhcp_lease_cmds.so", json!({}))
    }

    /// Sets an entry of the `Dhcp4` map.
    pub fn set(mut self, name: &str, value: Value) -> Setup {
        self.dhcp4.insert(name.to_string(), value);
        self
    }

    /// Leaves an entry of the `Dhcp4` map to Kea's default.
    pub fn by_default(mut self, name: &str) -> Setup {
        self.dhcp4.remove(name);
        self
    }

    /// Adds a pool to the relay agent's subnet, for the clients of this class.
    pub fn add_pool(mut self, pool: &str, client_class: &str) -> Setup {
        let pools = self.dhcp4["subnet4"][0]["pools"].as_array_mut().expect("a list of pools");
        pools.insert(0, json!({ "pool": pool, "client-class": client_class }));
        self
    }

    /// Adds subnets, after the relay agent's subnet.
    pub fn add_subnets(mut self, subnets: Vec<Value>) -> Setup {
        self.dhcp4["subnet4"].as_array_mut().expect("a list of subnets").extend(subnets);
        self
    }

    /// Has Kea send this option to every client, also to a client that does not ask for the option.
    pub fn option(self, name: &str, data: &str) -> Setup {
        self.set("option-data", json!([{ "name": name, "data": data, "always-send": true }]))
    }

    /// Has the logger of this name log at INFO, also where Kea is quiet.
    pub fn info(self, logger: &str) -> Setup {
        self.logger(logger, "INFO")
    }

    /// Has the logger of this name log everything.
    pub fn debug(self, logger: &str) -> Setup {
        self.logger(logger, "DEBUG")
    }

    /// Has Kea log nothing below WARN.
    pub fn quiet(mut self) -> Setup {
        self.quiet = true;
        self.logger("kea-dhcp4", "WARN")
    }

    /// Has the logger of this name log at INFO, into the file kea.log of Kea's folder alone. Kea begins
    /// a new file when the old one has 200 KiB, and keeps one old file.
    pub fn log_file(mut self, name: &str) -> Setup {
        self.loggers.push(json!({
            "name": name,
            "severity": "INFO",
            "output_options": [{ "output": LOG_FILE, "maxsize": 204_800, "maxver": 1 }],
        }));
        self
    }

    /// Forgets the lines of the log with this text: a long run would have too many of them.
    pub fn forget_lines(mut self, text: &'static str) -> Setup {
        self.forgotten = Some(text);
        self
    }

    /// Has another program run Kea. `runner` is the program and its arguments, to which Kea's
    /// command line is appended.
    pub fn under(mut self, runner: &[&str]) -> Setup {
        self.runner = runner.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Has Kea reply to the port that a relay agent sends from, if the relay agent asks for it
    /// (RFC 8357). The clients of [`Kea::client`] then get no reply.
    pub fn relay_ports(mut self) -> Setup {
        self.relay_ports = true;
        self
    }

    /// Has Kea keep its leases in a file, for [`Kea::kill_and_start`].
    pub fn persistent_leases(mut self) -> Setup {
        self.leases_persist = true;
        self
    }

    /// Has Kea listen on port 67 and reply to the ports 67 and 68, for real relay agents and
    /// clients. This needs privileges, and a network namespace where no other server has the ports.
    /// The clients of [`Kea::client`] then get no reply.
    pub fn dhcp_ports(mut self) -> Setup {
        self.dhcp_ports = true;
        self
    }

    /// Has commands come by HTTP at this port, too: [`Kea::command_over_http`].
    pub fn http_channel(mut self, port: &Arc<Port>) -> Setup {
        self.http = Some(Arc::clone(port));
        self
    }

    /// Puts this server behind the relay agent of another one. The relay agent then sends each
    /// query to both.
    pub fn behind_relay_of(self, kea: &Kea) -> Setup {
        self.behind(&kea.relay)
    }

    /// Puts this server behind this relay agent, so that there are clients before there is a
    /// server.
    pub fn behind(mut self, relay: &Arc<Relay>) -> Setup {
        self.relay = Some(Arc::clone(relay));
        self
    }

    /// Sets a variable in Kea's environment.
    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// Starts the server. Panics when Kea does not start.
    pub fn start(&self) -> Kea {
        self.try_start().unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts the server. The error is the log of a Kea that does not start.
    pub fn try_start(&self) -> Result<Kea> {
        match self.launch()? {
            Launch::Started(kea) => Ok(*kea),
            Launch::Refused(end) => {
                bail!("kea-dhcp4 did not start ({}):\n{}", end.status, end.log.join("\n"))
            }
        }
    }

    /// Starts a server whose configuration Kea must refuse. Returns how the server ended.
    pub fn refused(&self) -> End {
        match self.launch().unwrap_or_else(|error| panic!("{error:#}")) {
            Launch::Refused(end) => end,
            Launch::Started(_) => {
                panic!("kea-dhcp4 started with a configuration that it should refuse")
            }
        }
    }

    /// Has Kea check the configuration without serving anybody. Returns how Kea ended. Kea 2.2 has
    /// no check that loads hook libraries (`-T`).
    pub fn check(&self) -> End {
        self.spawn(if parks() { "-T" } else { "-t" })
            .unwrap_or_else(|error| panic!("{error:#}"))
            .wait()
    }

    /// Has Kea check the syntax of the configuration alone (`-t`). Returns how Kea ended.
    pub fn check_syntax(&self) -> End {
        self.spawn("-t").unwrap_or_else(|error| panic!("{error:#}")).wait()
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
            let mut kea = self.spawn("-c")?;
            if self.quiet {
                // A quiet Kea does not log that it is ready.
                kea.wait_for_commands();
            }
            let outcome = kea.log.wait(|lines, ended| {
                let said = |id| lines.iter().any(|line| line.contains(id));
                // Another process took the port between our look at it and Kea's.
                if said("DHCPSRV_OPEN_SOCKET_FAIL") {
                    Some(Outcome::PortTaken)
                } else if said(" DHCP4_STARTED ") || (self.quiet && !ended) {
                    Some(Outcome::Started)
                } else {
                    ended.then_some(Outcome::Ended)
                }
            });
            match outcome {
                Some(Outcome::Started) => {
                    kea.start_agent()?;
                    return Ok(Launch::Started(Box::new(kea)));
                }
                Some(Outcome::Ended) => return Ok(Launch::Refused(kea.wait())),
                Some(Outcome::PortTaken) => continue,
                None => bail!("kea-dhcp4 did not start in {PATIENCE:?}:\n{}", kea.log().join("\n")),
            }
        }
        bail!("no free UDP port for kea-dhcp4 after 20 tries")
    }

    /// Starts a Kea that reads its configuration in this mode: `-c`, `-t` or `-T`.
    fn spawn(&self, mode: &str) -> Result<Kea> {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let relay = self.relay.clone().unwrap_or_else(|| Arc::new(Relay::bind()));

        let folder = tempfile::Builder::new().prefix("kea-").tempdir()?;
        // Kea 3.0 accepts only this mode for the folder of a control socket.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750))?;
        let socket = folder.path().join("control");
        fs::write(folder.path().join(CONFIGURATION), self.configuration(folder.path(), &socket)?)?;

        let log = Log::default();
        let child = Some(self.run(mode, folder.path(), address, &relay, &log)?);
        relay.add_server(address);
        Ok(Kea { setup: self.clone(), child, agent: None, address, relay, log, socket, folder })
    }

    /// Runs Kea with the configuration in `folder`.
    ///
    /// The environment variable `REMOPTS_WATCHER` names a program that runs each Kea, such as
    /// valgrind, with the program's arguments: words between spaces, to which Kea's command line is
    /// appended. The program of [`Setup::under`] runs this program.
    fn run(
        &self,
        mode: &str,
        folder: &Path,
        address: SocketAddr,
        relay: &Relay,
        log: &Log,
    ) -> Result<Child> {
        let program = crate::program("kea-dhcp4", "kea-dhcp4-server")?;
        let watcher = env::var("REMOPTS_WATCHER").unwrap_or_default();
        // setpriv: the kernel ends Kea when this process dies without cleaning up. The kernel does
        // the same when the thread ends that started Kea, so this thread has to outlive the `Kea`.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(&self.runner)
            .args(watcher.split_whitespace())
            .arg(program)
            .arg(mode)
            .arg(folder.join(CONFIGURATION));
        if !self.dhcp_ports {
            command.args(["-p", &address.port().to_string()]);
            if !self.relay_ports {
                command.args(["-P", &relay.address().port().to_string()]);
            }
        }
        for variable in
            ["KEA_PIDFILE_DIR", "KEA_CONTROL_SOCKET_DIR", "KEA_DHCP_DATA_DIR", "KEA_LOG_FILE_DIR"]
        {
            command.env(variable, folder);
        }
        command.env("KEA_LOCKFILE_DIR", "none").env("KEA_HOOKS_PATH", hooks(folder));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("setpriv of Debian's util-linux")?;
        log.capture(child.stdout.take().context("Kea's output")?, self.forgotten);
        log.capture(child.stderr.take().context("Kea's error output")?, self.forgotten);
        Ok(child)
    }

    fn configuration(&self, folder: &Path, socket: &Path) -> Result<String> {
        // Kea 2.6.3 and later take hook libraries from one folder alone.
        let hooks = hooks(folder);
        fs::create_dir(&hooks)?;
        let mut libraries = Vec::new();
        for (path, parameters) in &self.libraries {
            let link = hooks.join(path.file_name().context("a library's file name")?);
            symlink(path.canonicalize().with_context(|| path.display().to_string())?, &link)?;
            libraries.push(json!({ "library": link, "parameters": parameters }));
        }
        let mut dhcp4 = self.dhcp4.clone();
        if self.leases_persist {
            // Kea 2.6.3 and later take the file from one folder alone: KEA_DHCP_DATA_DIR.
            let file = folder.join("leases.csv");
            let leases = json!({ "type": "memfile", "name": file, "lfc-interval": 0 });
            dhcp4.insert("lease-database".into(), leases);
        }
        dhcp4.insert("hooks-libraries".into(), Value::Array(libraries));
        let mut loggers = self.loggers.clone();
        for output in loggers.iter_mut().map(|logger| &mut logger["output_options"][0]["output"]) {
            if output == LOG_FILE {
                *output = json!(folder.join(LOG_FILE));
            }
        }
        dhcp4.insert("loggers".into(), Value::Array(loggers));
        let socket = json!({ "socket-type": "unix", "socket-name": socket });
        match self.http.as_ref().filter(|_| has_http_channel()).map(|port| port.address()) {
            None => dhcp4.insert("control-socket".into(), socket),
            Some(address) => {
                let http = json!({
                    "socket-type": "http",
                    "socket-address": address.ip(),
                    "socket-port": address.port(),
                });
                dhcp4.insert("control-sockets".into(), json!([socket, http]))
            }
        };
        Ok(json!({ "Dhcp4": dhcp4 }).to_string())
    }
}

enum Launch {
    Started(Box<Kea>),
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

/// A running server. When it is dropped, it is stopped and its files are removed. A test that fails
/// prints its log.
pub struct Kea {
    setup: Setup,
    /// The process; `None` once its end has been waited for.
    child: Option<Child>,
    /// The HTTP control channel of a Kea that has none of its own.
    agent: Option<Agent>,
    address: SocketAddr,
    relay: Arc<Relay>,
    log: Log,
    socket: PathBuf,
    /// Holds the configuration, the control socket, the links to hook libraries and, where leases
    /// persist, the leases.
    folder: TempDir,
}

impl Kea {
    /// The relay agent of all clients.
    pub fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// A new client behind the relay agent.
    pub fn client(&self) -> Client {
        Client::new(Arc::clone(&self.relay))
    }

    /// Gives the relay agent's place to another program. Returns where Kea listens, and where Kea
    /// sends its replies. From then on no [`Kea::client`] gets a reply.
    pub fn hand_over_relay(&mut self) -> (SocketAddr, SocketAddr) {
        let relay = mem::replace(&mut self.relay, Arc::new(Relay::bind()));
        relay.remove_server(self.address);
        self.relay.add_server(self.address);
        let address = relay.address();
        drop(relay);
        // A process that another thread starts has a copy of each socket until it runs its program.
        let entry = format!(":{:04X} ", address.port());
        wait_until("a free port of the relay agent", || {
            !fs::read_to_string("/proc/net/udp").expect("the UDP sockets").contains(&entry)
        });
        (self.address, address)
    }

    /// Where Kea listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map(Child::id).expect("a running Kea")
    }

    /// The processor time that all threads of Kea have used.
    pub fn processor_time(&self) -> Duration {
        let pid = Pid::from_raw(self.pid().try_into().expect("a process id"));
        let used = clock_getcpuclockid(pid).and_then(clock_gettime).expect("the clock of Kea");
        Duration::from_nanos(used.num_nanoseconds().unsigned_abs())
    }

    /// The control socket.
    pub fn control_socket(&self) -> &Path {
        &self.socket
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.shared.0.lock().unwrap().lines.clone()
    }

    /// How many lines of the log so far contain this text.
    pub fn count(&self, message: &str) -> usize {
        self.log().iter().filter(|line| line.contains(message)).count()
    }

    /// Waits for a line of the log that contains all of these parts, and returns the line.
    #[track_caller]
    pub fn logged(&self, parts: &[&str]) -> String {
        let wanted = |line: &&String| parts.iter().all(|part| line.contains(part));
        let line = self.log.wait(|lines, _| lines.iter().find(wanted).cloned());
        line.unwrap_or_else(|| panic!("Kea did not log {parts:?} in {PATIENCE:?}"))
    }

    /// Sends a command to the control socket, and returns what Kea says.
    pub fn command(&self, name: &str) -> Result<Value> {
        self.command_with(name, json!({}))
    }

    /// As [`Kea::command`], with arguments.
    pub fn command_with(&self, name: &str, arguments: Value) -> Result<Value> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream
            .write_all(json!({ "command": name, "arguments": arguments }).to_string().as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// As [`Kea::command_with`], over the HTTP control channel. Needs [`Setup::http_channel`].
    pub fn command_over_http(&self, name: &str, arguments: Value) -> Result<Value> {
        let port = self.setup.http.as_ref().context("an HTTP control channel")?;
        http_channel::command(port.address(), name, &arguments)
    }

    /// Has Kea load its configuration again (command `config-reload`), which must succeed.
    pub fn reload(&self) -> Result<()> {
        let answer = self.command("config-reload")?;
        ensure!(answer["result"] == 0, "config-reload: {answer}");
        Ok(())
    }

    /// The configuration with which Kea was started.
    pub fn configuration(&self) -> Value {
        let text = fs::read_to_string(self.folder.path().join(CONFIGURATION))
            .expect("the configuration file");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Writes another configuration into the file, for the next [`Kea::reload`].
    pub fn write_configuration(&self, configuration: &Value) -> Result<()> {
        let file = self.folder.path().join(CONFIGURATION);
        // Kea may read the file at any time.
        let new = file.with_extension("new");
        fs::write(&new, configuration.to_string())?;
        Ok(fs::rename(new, file)?)
    }

    /// The file of [`Setup::log_file`].
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join(LOG_FILE)
    }

    /// Gives Kea a new configuration (command `config-set`), which must succeed.
    pub fn set_configuration(&self, configuration: Value) -> Result<()> {
        let answer = self.command_with("config-set", configuration)?;
        ensure!(answer["result"] == 0, "config-set: {answer}");
        Ok(())
    }

    /// The present value of a statistic; `None` when Kea has no statistic of this name.
    pub fn statistic(&self, name: &str) -> Option<i64> {
        let answer = self.command_with("statistic-get", json!({ "name": name }));
        answer.expect("an answer to statistic-get")["arguments"][name][0][0].as_i64()
    }

    /// The lease of this address; `None` when nobody has it. Needs [`Setup::lease_commands`].
    pub fn lease(&self, address: Ipv4Addr) -> Option<Value> {
        let lease = self.command_with("lease4-get", json!({ "ip-address": address }));
        let lease = lease.expect("an answer to lease4-get");
        match lease["result"].as_i64() {
            Some(0) => Some(lease["arguments"].clone()),
            // "empty"
            Some(3) => None,
            _ => panic!("lease4-get: {lease}"),
        }
    }

    /// Asks Kea to end (SIGTERM), without waiting for the end.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends Kea at once (SIGKILL), so that Kea has no time for anything. [`Kea::wait`] waits for the
    /// end.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Asks Kea to end, and waits for the end.
    pub fn stop(self) -> End {
        self.terminate();
        self.wait()
    }

    /// Waits for the end of Kea, which [`Kea::terminate`] may have asked for.
    pub fn wait(mut self) -> End {
        let status = self
            .wait_at_most(PATIENCE)
            .unwrap_or_else(|| panic!("kea-dhcp4 did not end in {PATIENCE:?}"));
        self.log.wait(|_, ended| ended.then_some(()));
        let log = self.log();
        let without_text = log.iter().find(|line| line.contains("@@Missing"));
        assert_eq!(without_text, None, "a message without its text");
        End { status, log }
    }

    /// Kills Kea (SIGKILL) and starts it again with the same configuration, ports and files. The
    /// clients and the log stay. Leases need [`Setup::persistent_leases`] to stay.
    pub fn kill_and_start(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL);
        self.wait_at_most(PATIENCE).context("a Kea that SIGKILL ends")?;
        self.log.wait(|_, ended| ended.then_some(()));
        let folder = self.folder.path();
        let child = self.setup.run("-c", folder, self.address, &self.relay, &self.log)?;
        self.child = Some(child);
        ensure!(self.wait_for_commands(), "Kea did not start again");
        Ok(())
    }

    /// Waits until Kea takes commands: it takes none before it is ready. Returns false where Kea
    /// ends instead.
    fn wait_for_commands(&self) -> bool {
        let ready = || self.command("version-get").is_ok();
        wait_until_within(2 * PATIENCE, || ready() || self.log.has_ended()) && ready()
    }

    /// Starts the HTTP control channel of a Kea that has none of its own.
    fn start_agent(&mut self) -> Result<()> {
        if let Some(port) = self.setup.http.as_ref().filter(|_| !has_http_channel()) {
            let agent = Agent::start(port.address(), &self.socket, self.folder.path())?;
            self.agent = Some(agent);
        }
        Ok(())
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
        // Kea may have ended. Nobody has waited for its end yet, so no other process has its id.
        let pid = i32::try_from(self.pid()).expect("a process id");
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

impl Drop for Kea {
    fn drop(&mut self) {
        self.relay.remove_server(self.address);
        if self.child.is_some() {
            self.signal(Signal::SIGTERM);
            if self.wait_at_most(Duration::from_secs(5)).is_none() {
                self.signal(Signal::SIGKILL);
                self.wait_at_most(Duration::from_secs(5));
            }
        }
        if thread::panicking() {
            eprintln!(
                "The log of kea-dhcp4 in {}:\n{}",
                self.folder.path().display(),
                self.log().join("\n")
            );
        }
    }
}

/// How a server ended.
pub struct End {
    /// The exit status.
    pub status: ExitStatus,
    /// Everything that the server logged.
    pub log: Vec<String>,
}

impl End {
    /// The lines of WARN and above that the hook logged.
    pub fn complaints(&self) -> Vec<&str> {
        let hook = format!("[{HOOK_LOGGER}]");
        let mut lines = self
            .log
            .iter()
            .map(String::as_str)
            .filter(|line| line.contains(&hook))
            .collect::<Vec<_>>();
        lines.retain(|line| {
            ["WARN", "ERROR", "FATAL"].iter().any(|severity| line.starts_with(severity))
        });
        lines
    }

    /// Panics unless the server ended with status 0, and the hook never complained.
    #[track_caller]
    pub fn assert_clean(&self) {
        let log = self.log.join("\n");
        assert!(
            self.status.success(),
            "{} (signal {:?}):\n{log}",
            self.status,
            self.status.signal()
        );
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
    /// How many streams may still bring lines.
    open: usize,
}

impl Log {
    fn capture(&self, stream: impl Read + Send + 'static, forgotten: Option<&'static str>) {
        self.shared.0.lock().unwrap().open += 1;
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if forgotten.is_some_and(|text| line.contains(text)) {
                    continue;
                }
                shared.0.lock().unwrap().lines.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().open -= 1;
            shared.1.notify_all();
        });
    }

    /// Whether no more lines can come.
    fn has_ended(&self) -> bool {
        self.shared.0.lock().unwrap().open == 0
    }

    /// Waits until `look` finds what it looks for. `look` gets the lines so far, and whether no
    /// more lines can come.
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
