// SPDX-License-Identifier: MPL-2.0
//! A real relay agent: dhcrelay of ISC DHCP. With `-a` it adds option 82 to what a client sends.
//! The circuit-id is the name of the interface that the client is connected to.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};

use remote_opts_test_support::{PATIENCE, program, wait_until_within};

use crate::network::SERVER;

/// A running relay agent. When it is dropped, it is ended.
pub struct RelayAgent {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl RelayAgent {
    /// Starts the relay agent between the machine's `port` and the server, and waits until it has
    /// its sockets.
    pub fn start(port: &str) -> Result<RelayAgent> {
        // setpriv: the kernel ends the relay agent when this process dies without cleaning up.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program("dhcrelay", "isc-dhcp-relay")?)
            .args(["-d", "--no-pid", "-a", "-id", port, "-iu", "uplink", SERVER])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("setpriv of Debian's util-linux")?;
        let output = child.stderr.take().context("the output of dhcrelay")?;
        let mut agent = RelayAgent { child, log: Arc::default() };
        let log = Arc::clone(&agent.log);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        // dhcrelay names this socket last.
        let ready = |agent: &RelayAgent| agent.log().iter().any(|line| line.contains("fallback"));
        let mut ended = false;
        wait_until_within(PATIENCE, || {
            ended = !matches!(agent.child.try_wait(), Ok(None));
            ended || ready(&agent)
        });
        ensure!(!ended && ready(&agent), "dhcrelay did not start:\n{}", agent.log().join("\n"));
        Ok(agent)
    }

    /// What the relay agent has said so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RelayAgent {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended already.
        let _ = self.child.wait();
    }
}
