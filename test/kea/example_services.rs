// SPDX-License-Identifier: MPL-2.0
//! The services under examples/services, and how the service of another example is started. Each is
//! started by the one command that its file names, in a copy of the folder, and a real Kea asks it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use remote_opts_test_support::dhcp::Reply;
use remote_opts_test_support::kea::{Kea, Setup, Threads};
use remote_opts_test_support::{PATIENCE, project, wait_until_within};

use crate::in_both_modes;

/// The port in the commands of the examples. Each test takes a free port in its place.
const PORT: &str = "8080";

/// The path in the URL that the examples' README names.
const PATH: &str = "/api/dhcp";

/// What the sample records have for [`RESCUED`].
const RESCUE: &str = "http://boot.example.net/rescue.ipxe";

/// What the sample records have for [`INSTALLED`].
const INSTALLER: &str = "http://boot.example.net/debian-installer.ipxe";

/// A circuit-id of the sample records.
const RESCUED: &[u8] = b"switch1:port7";

/// Another circuit-id of the sample records.
const INSTALLED: &[u8] = b"switch1:port8";

/// The circuit-id of a line in ports.csv whose other cells are empty.
const EMPTY: &[u8] = b"switch1:port9";

/// The sample records do not have these circuit-ids. The last one is binary, as those of many
/// switches are, and no text in UTF-8.
const UNKNOWN: [&[u8]; 3] = [b"switch9:port1", b"switch9:port2", b"\x00\x04\x00\xff\x01\x80"];

/// One service, and what differs from the other services.
struct Example {
    file: &'static str,
    /// Status line and body of the response about an unknown port.
    unknown: (&'static str, &'static str),
    /// Status line and body of the response about [`EMPTY`].
    empty: (&'static str, &'static str),
    /// Where a reply has the TFTP server.
    tftp: fn(&Reply) -> Option<Vec<u8>>,
    /// What the TFTP server of the sample records is there.
    tftp_server: &'static [u8],
    /// Gives [`RESCUED`] the URL [`INSTALLER`], and the first of [`UNKNOWN`] a record with
    /// [`RESCUE`]. Takes the folder of the records.
    change: fn(&Path),
}

/// HTTP/1.0: each response ends with its connection.
const HTTP_SERVER: Example = Example {
    file: "http_server.py",
    unknown: ("HTTP/1.0 404 Not Found", "null"),
    empty: ("HTTP/1.0 200 OK", "{}"),
    tftp: |reply| reply.option(66),
    tftp_server: b"192.0.2.10",
    change: change_csv,
};

const PHP_SERVER: Example = Example {
    file: "php_server.php",
    unknown: ("HTTP/1.1 200 OK", ""),
    empty: ("HTTP/1.1 200 OK", "[]"),
    ..HTTP_SERVER
};

/// The table of its records takes no empty value, so [`EMPTY`] is one more unknown port.
const FLASK_APP: Example = Example {
    file: "flask_app.py",
    unknown: ("HTTP/1.1 200 OK", "null\n"),
    empty: ("HTTP/1.1 200 OK", "null\n"),
    tftp: |reply| Some(reply.next_server().into()),
    tftp_server: &[192, 0, 2, 10],
    change: change_database,
};

const ALL: [Example; 3] = [HTTP_SERVER, PHP_SERVER, FLASK_APP];

#[test]
fn http_server_of_python() {
    in_both_modes(|threads| serves(&HTTP_SERVER, threads));
}

#[test]
fn built_in_server_of_php() {
    in_both_modes(|threads| serves(&PHP_SERVER, threads));
}

#[test]
fn flask() {
    in_both_modes(|threads| serves(&FLASK_APP, threads));
}

#[test]
fn each_service_says_in_its_own_way_that_it_has_nothing() {
    for example in ALL {
        let service = Running::start(&example);
        let asked = UNKNOWN.map(|circuit_id| (circuit_id, example.unknown));
        for (circuit_id, expected) in asked.into_iter().chain([(EMPTY, example.empty)]) {
            let (status, body) = service.says(circuit_id);
            assert_eq!((&status[..], &body[..]), expected, "{}", example.file);
        }
    }
}

#[test]
fn readme_names_the_command_of_each_service() {
    let readme = readme();
    let entries = fs::read_dir(folder()).expect("the folder of services");
    let files = entries.map(|entry| entry.expect("an entry").file_name().into_string().unwrap());
    let mut files: Vec<_> =
        files.filter(|file| file.ends_with(".py") || file.ends_with(".php")).collect();
    files.sort();
    let mut tested = ALL.map(|example| example.file);
    tested.sort_unstable();
    assert_eq!(files, tested, "each service has its test");
    for example in ALL {
        let command = command(&example);
        assert!(command.contains(example.file.split('.').next().unwrap()), "{command}");
        assert!(readme.lines().any(|line| line == format!("    {command}")), "no {command}");
    }
    let url = format!("http://127.0.0.1:{PORT}{PATH}");
    assert!(readme.contains(&format!("    \"url\": \"{url}\"\n")), "no {url}");
    assert!(readme.contains(&format!("    curl -i '{url}?{}'\n", query(RESCUED))), "no request");
}

/// Has machines boot from a service: known ports, unknown ports, and ports whose records change.
fn serves(example: &Example, threads: Threads) {
    let service = Running::start(example);
    let kea = Setup::new(threads).hook(json!({ "url": service.url() })).start();
    let boots = |circuit_id: &[u8], url: &str| {
        for reply in boot(&kea, circuit_id) {
            assert_eq!(reply.chain().as_deref(), Some(url));
            assert_eq!((example.tftp)(&reply).as_deref(), Some(example.tftp_server));
        }
    };
    boots(RESCUED, RESCUE);
    for unknown in UNKNOWN.into_iter().chain([EMPTY]) {
        for reply in boot(&kea, unknown) {
            assert_eq!([224, 66].map(|code| reply.option(code)), [None, None], "{reply:?}");
            assert_eq!(reply.next_server(), [0; 4]);
        }
    }
    // Kea has no answer about this port yet, so only a service that is up can serve the port.
    boots(INSTALLED, INSTALLER);
    (example.change)(service.folder());
    boots(RESCUED, INSTALLER);
    boots(UNKNOWN[0], RESCUE);
    kea.stop().assert_clean();
}

/// Boots a new machine behind the port of this circuit-id. Returns OFFER and ACK.
fn boot(kea: &Kea, circuit_id: &[u8]) -> [Reply; 2] {
    let length = u8::try_from(circuit_id.len()).expect("a short circuit-id");
    kea.client().with(82, [&[1, length], circuit_id].concat()).exchange()
}

/// Edits ports.csv as its owner does.
fn change_csv(folder: &Path) {
    let file = folder.join("ports.csv");
    let records = fs::read_to_string(&file).expect("records");
    let port = |url| format!("\nswitch1:port7,{url},");
    assert!(records.contains(&port(RESCUE)), "{records}");
    fs::write(&file, records.replace(&port(RESCUE), &port(INSTALLER))).expect("a file");
    let mut file = OpenOptions::new().append(true).open(file).expect("a file");
    writeln!(file, "switch9:port1,{RESCUE},192.0.2.10").expect("one more line");
}

/// Changes one record by the command of the README, and adds another record.
fn change_database(folder: &Path) {
    let readme = readme();
    let command = readme.split("\n\n").find(|block| block.starts_with("    sqlite3 ports.db "));
    let command = command.expect("a command that changes a record").to_owned();
    let insert = format!("INSERT INTO port VALUES ('switch9:port1', '{RESCUE}', '192.0.2.10')");
    for command in [command, format!("sqlite3 ports.db \"{insert}\"")] {
        let status = Command::new("sh").arg("-c").arg(&command).current_dir(folder).status();
        assert!(status.expect("sh").success(), "{command}");
    }
}

/// The folder of the services.
fn folder() -> PathBuf {
    project().join("examples/services")
}

fn readme() -> String {
    fs::read_to_string(folder().join("README.md")).expect("README.md")
}

/// The command of a service.
fn command(example: &Example) -> String {
    command_of(&folder().join(example.file))
}

/// The command at the top of a service's file.
pub fn command_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let line = text.lines().find(|line| line.contains(PORT)).expect("a line with the port");
    line.trim_start_matches("//").trim().to_owned()
}

/// The query of the request about the port of this circuit-id.
fn query(circuit_id: &[u8]) -> String {
    let digits: String = circuit_id.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("sub82_1={digits}")
}

/// A service that runs in a copy of the folder. When it is dropped, it is killed and its files are
/// removed. A test that fails prints what the service printed.
pub struct Running {
    child: Child,
    address: SocketAddr,
    /// Keeps the port for the service: nobody else gets it before the service listens.
    _reserved: Socket,
    folder: TempDir,
}

impl Running {
    /// As [`Running::start_in`], in the folder of the services.
    fn start(example: &Example) -> Running {
        Running::start_in(&folder(), &command(example))
    }

    /// Starts a service by its command in a copy of its folder, and waits until it takes
    /// connections.
    pub fn start_in(folder: &Path, command: &str) -> Running {
        let copy = TempDir::new().expect("a folder");
        for entry in fs::read_dir(folder).expect("the folder of a service") {
            let entry = entry.expect("an entry");
            // Who tried a service by hand has a database there, with records of its own.
            if entry.path().is_file() && entry.file_name() != "ports.db" {
                fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("a copy");
            }
        }
        // The server programs, too, set SO_REUSEADDR, so they may take the port of a socket that
        // does not listen.
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
        reserved.set_reuse_address(true).expect("SO_REUSEADDR");
        reserved.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        let address = reserved.local_addr().expect("a bound socket").as_socket().expect("of IPv4");
        let command = command.replace(PORT, &address.port().to_string());

        let printed = File::create(copy.path().join(PRINTED)).expect("a file");
        // Debian's own Python has the Flask of Debian. A developer's PATH may begin with another.
        let path = format!("/usr/bin:{}", env::var("PATH").unwrap_or_default());
        // setpriv: the kernel ends the service when this thread dies without cleaning up.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "sh", "-c", &format!("exec {command}")])
            .current_dir(&copy)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stderr(printed.try_clone().expect("a file"))
            .stdout(printed)
            .spawn()
            .expect("setpriv of Debian's util-linux");
        let mut running = Running { child, address, _reserved: reserved, folder: copy };
        let mut ended = None;
        let listens = wait_until_within(PATIENCE, || {
            ended = running.child.try_wait().expect("the status of our own child");
            ended.is_some() || TcpStream::connect(address).is_ok()
        });
        assert!(listens && ended.is_none(), "{command}: {ended:?}, not listening");
        running
    }

    fn url(&self) -> String {
        self.origin() + PATH
    }

    /// The service's URL, without a path.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder with the service's records.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks the service about the port of this circuit-id, as the library does. Returns the status
    /// line and the body of the response.
    fn says(&self, circuit_id: &[u8]) -> (String, String) {
        self.get(&format!("{PATH}?{}", query(circuit_id)))
    }

    /// Makes a GET request for this path and query. Returns the status line and the body of the
    /// response.
    pub fn get(&self, target: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let host = self.address;
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        // In one piece: PHP's built-in server refuses a request whose path comes in pieces.
        stream.write_all(request.as_bytes()).expect("a request");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().expect("a status line").to_owned(), body.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended already.
        let _ = self.child.wait();
        if thread::panicking() {
            let printed = fs::read_to_string(self.folder.path().join(PRINTED)).unwrap_or_default();
            eprintln!("The service printed:\n{printed}");
        }
    }
}

/// The file in a service's folder that takes what the service prints.
const PRINTED: &str = "printed";
