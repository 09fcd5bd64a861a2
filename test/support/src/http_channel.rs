// SPDX-License-Identifier: MPL-2.0
//! The HTTP control channel: the server's own from Kea 3.0 on, and kea-ctrl-agent before.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{PATIENCE, wait_until_within};

/// Sends a command to the DHCPv4 server behind this HTTP control channel, and returns what the
/// server says.
pub fn command(channel: SocketAddr, name: &str, arguments: &Value) -> Result<Value> {
    let body = json!({ "command": name, "service": ["dhcp4"], "arguments": arguments }).to_string();
    let mut stream = TcpStream::connect(channel)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {channel}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response.split_once("\r\n\r\n").context("a whole response")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{response}");
    // One response for each server that the command went to.
    match serde_json::from_str(body)? {
        Value::Array(mut responses) if responses.len() == 1 => Ok(responses.remove(0)),
        _ => bail!("not the response of one server: {body}"),
    }
}

/// A running kea-ctrl-agent. When it is dropped, it ends.
pub(crate) struct Agent {
    child: Child,
}

impl Agent {
    /// Starts an agent that listens at this address and passes commands on to the control socket
    /// `socket`. Its files are in `folder`.
    pub(crate) fn start(address: SocketAddr, socket: &Path, folder: &Path) -> Result<Agent> {
        let configuration = folder.join("kea-ctrl-agent.conf");
        let content = json!({ "Control-agent": {
            "http-host": address.ip(),
            "http-port": address.port(),
            "control-sockets": { "dhcp4": { "socket-type": "unix", "socket-name": socket } },
            "loggers": [{
                "name": "kea-ctrl-agent",
                "severity": "WARN",
                "output_options": [{ "output": "stderr" }],
            }],
        }});
        fs::write(&configuration, content.to_string())?;
        // setpriv: the kernel ends the agent when this process dies without cleaning up.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(crate::program("kea-ctrl-agent", "kea-ctrl-agent")?)
            .arg("-c")
            .arg(configuration)
            .envs(["KEA_PIDFILE_DIR", "KEA_CONTROL_SOCKET_DIR"].map(|name| (name, folder)))
            .env("KEA_LOCKFILE_DIR", "none")
            .stdin(Stdio::null())
            // The agent says that it starts, before it reads what it is to log.
            .stdout(Stdio::null());
        let child = command.spawn().context("setpriv of Debian's util-linux")?;
        let mut agent = Agent { child };
        let listens = || TcpStream::connect(address).is_ok();
        let ready = wait_until_within(PATIENCE, || listens() || agent.has_ended()) && listens();
        ensure!(ready, "kea-ctrl-agent does not listen");
        Ok(agent)
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.has_ended() {
            // Nobody has waited for the agent's end yet, so no other process has its id.
            let pid = i32::try_from(self.child.id()).expect("a process id");
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            if !wait_until_within(PATIENCE, || self.has_ended()) {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}
