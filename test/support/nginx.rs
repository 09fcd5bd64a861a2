//! A real nginx on loopback, serving one file as test/nginx.conf says.

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

/// A running nginx; dropped, it is stopped and its files are removed.
pub struct Nginx {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts it with the `server` block of `site`, on a free port, serving a copy of `file`.
    pub fn start(site: &Path, file: &Path) -> Result<Nginx> {
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir()?;
        // Started by root, nginx reads its files as another user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        fs::copy(file, folder.path().join(file.file_name().context("a file to serve")?))?;
        let site = fs::read_to_string(site)?;
        // Should another process take the port before nginx does, the next one is tried.
        for _ in 0..20 {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let site = site
                .replace("listen 80;", &format!("listen {address};"))
                .replace("/usr/share/nginx/html", &folder.path().display().to_string());
            let configuration = folder.path().join("nginx.conf");
            fs::write(&configuration, main_configuration(folder.path(), &site))?;
            let mut child = Command::new(super::program("nginx", "nginx-light")?)
                .args(["-e", "stderr", "-c"])
                .arg(configuration)
                .stdin(Stdio::null())
                .spawn()
                .context("nginx")?;
            if listens(&mut child, &folder.path().join("nginx.pid"))? {
                return Ok(Nginx { child, address, folder });
            }
        }
        bail!("nginx did not start")
    }

    /// The URL of this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The request lines that nginx has answered so far.
    pub fn requests(&self) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.folder.path().join("access.log"))?;
        Ok(log.lines().map(str::to_owned).collect())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// Whether nginx has its socket, after which it writes its process id; false when it ended instead.
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

/// All that nginx would otherwise keep in the system's folders goes into `folder`.
fn main_configuration(folder: &Path, site: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n\
         {temporary}    log_format request '$request';\n    access_log {folder}/access.log request;\n{site}\n}}\n"
    )
}
