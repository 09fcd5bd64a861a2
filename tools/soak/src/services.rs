// SPDX-License-Identifier: MPL-2.0
//! The services as the adversary has them: processes that it kills, freezes, and gives another mode.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::{env, mem};

use anyhow::{Context, Result};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::service::Mode;
use remote_opts_test_support::port::Port;

/// One service. When it is dropped, its process ends.
pub struct Service {
    pub name: &'static str,
    port: Port,
    /// PEM files: see [`crate::service::Arguments`].
    tls: Vec<PathBuf>,
    process: Mutex<Process>,
}

struct Process {
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Service {
    pub fn start(name: &'static str, tls: Vec<PathBuf>) -> Result<Service> {
        let port = Port::reserve();
        let process = Mutex::new(launch(name, port.address(), &tls)?);
        Ok(Service { name, port, tls, process })
    }

    /// The URL, with this host.
    pub fn url(&self, host: &str) -> String {
        let scheme = if self.tls.is_empty() { "http" } else { "https" };
        format!("{scheme}://{host}:{}/", self.port.address().port())
    }

    /// Gives the service another mode.
    pub fn set(&self, mode: Mode) -> Result<()> {
        let value = mode.to_possible_value().context("a mode with a name")?;
        self.order(value.get_name())
    }

    /// Ends all connections.
    pub fn cut(&self) -> Result<()> {
        self.order("cut")
    }

    fn order(&self, line: &str) -> Result<()> {
        let mut process = self.process.lock().unwrap();
        writeln!(process.orders, "{line}")?;
        process.replies.read_line(&mut String::new())?;
        Ok(())
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.process.lock().unwrap().child.id();
        // Nobody has waited for its end yet, so no other process has its id.
        let _ = kill(Pid::from_raw(i32::try_from(id).expect("a process id")), signal);
    }

    /// Starts a new process after a kill.
    pub fn restart(&self) -> Result<()> {
        let mut process = self.process.lock().unwrap();
        process.child.wait()?;
        drop(mem::replace(&mut *process, launch(self.name, self.port.address(), &self.tls)?));
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.process.lock().unwrap().child.wait();
    }
}

fn launch(name: &str, address: SocketAddr, tls: &[PathBuf]) -> Result<Process> {
    let mut child = Command::new(env::current_exe()?)
        .args(["service", &address.to_string(), name])
        .args(tls)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let orders = child.stdin.take().context("standard input")?;
    let mut replies = BufReader::new(child.stdout.take().context("standard output")?);
    replies.read_line(&mut String::new())?;
    Ok(Process { child, orders, replies })
}
