// SPDX-License-Identifier: MPL-2.0
//! A real nginx on loopback.

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
    /// The request line.
    pub request: String,
}

impl Nginx {
    /// Starts an nginx with these `server` blocks, on a free port. In the blocks, `ADDRESS` stands
    /// for the address and port to listen at, `FOLDER` for the folder of `files` (name, content).
    pub fn start(servers: &str, files: &[(&str, &[u8])]) -> Result<Nginx> {
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir()?;
        // An nginx that root started reads its files as another user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        for (name, content) in files {
            fs::write(folder.path().join(name), content)?;
        }
        // Another process may take the port before nginx does. Then the next port is tried.
        for _ in 0..20 {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let servers = servers
                .replace("ADDRESS", &address.to_string())
                .replace("FOLDER", &folder.path().display().to_string());
            let configuration = folder.path().join("nginx.conf");
            fs::write(&configuration, main_configuration(folder.path(), &servers))?;
            let mut child = Command::new(crate::program("nginx", "nginx-light")?)
                .arg("-e")
                .arg(folder.path().join("error.log"))
                .arg("-c")
                .arg(configuration)
                .stdin(Stdio::null())
                .spawn()
                .context("nginx")?;
            if listens(&mut child, &folder.path().join("nginx.pid"))? {
                return Ok(Nginx { child, address, folder });
            }
        }
        bail!("nginx did not start:\n{}", error_log(folder.path()))
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

fn error_log(folder: &Path) -> String {
    fs::read_to_string(folder.join("error.log")).unwrap_or_default()
}

/// Reads a line of the access log, whose format [`main_configuration`] sets.
fn access(line: &str) -> Option<Access> {
    let [protocol, connection, status, encoding, request] =
        line.splitn(5, ' ').collect::<Vec<_>>().try_into().ok()?;
    Some(Access {
        protocol: protocol.to_owned(),
        connection: connection.to_owned(),
        status: status.parse().ok()?,
        encoding: encoding.to_owned(),
        request: request.to_owned(),
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
         $sent_http_content_encoding $request';\n    \
         access_log {folder}/access.log access;\n\
         {servers}\n\
         }}\n"
    )
}
