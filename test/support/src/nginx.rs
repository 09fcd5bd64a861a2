// SPDX-License-Identifier: MPL-2.0
//! A real nginx, on loopback unless the caller names another address.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A running nginx. When it is dropped, it is stopped and its files are removed. A test that fails
/// prints its error log.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// One request that nginx has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The version of HTTP, as nginx writes it: `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The connection: the process id of the worker, and the worker's number for the connection.
    /// Each worker begins with the same number.
    pub connection: String,
    /// The status of the response.
    pub status: u16,
    /// The `Content-Encoding` of the response; `-` without one.
    pub encoding: String,
    /// The address that the request came from.
    pub client: String,
    /// The request line.
    pub request: String,
    /// The `User-Agent` of the request; `-` without one.
    pub agent: String,
}

impl Nginx {
    /// Starts an nginx with these `server` blocks, on a free port. In the blocks, `ADDRESS` stands
    /// for the address and port to listen at, `FOLDER` for the folder of `files` (name, content).
    pub fn start(servers: &str, files: &[(&str, &[u8])]) -> Result<Nginx> {
        let folder = folder_of(files)?;
        // Another process may take the port before nginx does. Then the next port is tried.
        for _ in 0..20 {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            if let Some(child) = launch(folder.path(), address, servers)? {
                return Ok(Nginx { child, address, folder });
            }
        }
        bail!("nginx did not start:\n{}", error_log(folder.path()))
    }

    /// Starts an nginx as [`Nginx::start`] does, at this address and port. In a network namespace
    /// of its own, nginx can have port 80.
    pub fn start_at(address: SocketAddr, servers: &str, files: &[(&str, &[u8])]) -> Result<Nginx> {
        let folder = folder_of(files)?;
        match launch(folder.path(), address, servers)? {
            Some(child) => Ok(Nginx { child, address, folder }),
            None => bail!("nginx did not start at {address}:\n{}", error_log(folder.path())),
        }
    }

    /// Writes a file into `FOLDER`, or replaces the file's content.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        write(self.folder.path(), name, content)
    }

    /// The address and port at which nginx listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The http URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests that nginx has answered so far, in the order of their ends.
    pub fn accesses(&self) -> Result<Vec<Access>> {
        let log = fs::read_to_string(self.folder.path().join("access.log"))?;
        log.lines().map(|line| access(line).with_context(|| line.to_owned())).collect()
    }

    /// Has nginx read its configuration again. New worker processes take new connections, and the
    /// old ones end when they have answered their requests. Does not wait for it.
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let _ = kill(Pid::from_raw(pid), signal); // It may have ended already.
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("The error log of nginx:\n{}", error_log(self.folder.path()));
        }
    }
}

/// Makes the folder of an nginx, with these files (name, content).
fn folder_of(files: &[(&str, &[u8])]) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("nginx-").tempdir()?;
    // An nginx that root started reads its files as another user.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    for (name, content) in files {
        write(folder.path(), name, content)?;
    }
    Ok(folder)
}

/// Writes a file, and makes the folders that its name wants.
fn write(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().context("a file in a folder")?)?;
    fs::write(&file, content).with_context(|| file.display().to_string())
}

/// Starts the program. Returns `None` when nginx ended instead of listening.
fn launch(folder: &Path, address: SocketAddr, servers: &str) -> Result<Option<Child>> {
    let servers = servers
        .replace("ADDRESS", &address.to_string())
        .replace("FOLDER", &folder.display().to_string());
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, main_configuration(folder, &servers))?;
    // setpriv: the kernel ends nginx when this process dies without cleaning up. The kernel does
    // the same when the thread ends that started nginx, so this thread has to outlive the `Nginx`.
    // SIGTERM, because nginx then ends its worker processes too.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--"])
        .arg(crate::program("nginx", "nginx-light")?)
        .arg("-e")
        .arg(folder.join("error.log"))
        .arg("-c")
        .arg(configuration)
        .stdin(Stdio::null())
        .spawn()
        .context("setpriv of Debian's util-linux")?;
    Ok(listens(&mut child, &folder.join("nginx.pid"))?.then_some(child))
}

fn error_log(folder: &Path) -> String {
    fs::read_to_string(folder.join("error.log")).unwrap_or_default()
}

/// Reads a line of the access log, whose format [`main_configuration`] sets.
fn access(line: &str) -> Option<Access> {
    let (line, agent) = line.split_once('\t')?;
    let [protocol, connection, status, encoding, client, request] =
        line.splitn(6, ' ').collect::<Vec<_>>().try_into().ok()?;
    Some(Access {
        protocol: protocol.to_owned(),
        connection: connection.to_owned(),
        status: status.parse().ok()?,
        encoding: encoding.to_owned(),
        client: client.to_owned(),
        request: request.to_owned(),
        agent: agent.to_owned(),
    })
}

/// Waits until nginx has its sockets: after that it writes its process id. Returns false when nginx
/// ended instead.
fn listens(child: &mut Child, pid_file: &Path) -> Result<bool> {
    let end = Instant::now() + Duration::from_secs(15);
    while child.try_wait()?.is_none() {
        if pid_file.exists() {
            return Ok(true);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("nginx does not listen");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}

/// The whole configuration. Whatever nginx would keep in folders of the system goes into `folder`.
/// There is room for thousands of connections: to clients, and to a service behind nginx.
fn main_configuration(folder: &Path, servers: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;\n\
         worker_processes 1;\n\
         worker_rlimit_nofile 16384;\n\
         pid {folder}/nginx.pid;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         {temporary}    log_format access '$server_protocol $pid.$connection $status \
         $sent_http_content_encoding $remote_addr $request\t$http_user_agent';\n    \
         access_log {folder}/access.log access;\n\
         {servers}\n\
         }}\n"
    )
}
