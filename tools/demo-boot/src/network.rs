// SPDX-License-Identifier: MPL-2.0
//! The network of the demo, in two network namespaces:
//!
//! ```text
//! machine ─── port1      uplink ─── eth0
//!          192.0.2.1  198.51.100.1  198.51.100.10
//!         └── relay agent, router ──┘ └ Kea, nginx ┘
//! ```
//!
//! The namespaces have no names. They vanish with the last process and the last open file that use
//! them, also when this program is killed. The network of the host has no part in it.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use remote_opts_test_support::program;

/// The address of Kea and nginx.
pub const SERVER: &str = "198.51.100.10";
/// The address of the relay agent at the machine's port: the router of the examples.
pub const RELAY: &str = "192.0.2.1";
/// What the addresses of machines begin with.
pub const MACHINES: &str = "192.0.2.";

/// A network namespace.
pub struct Namespace(File);

impl Namespace {
    /// The namespace of this thread.
    fn present() -> Result<Namespace> {
        let path = "/proc/thread-self/ns/net";
        Ok(Namespace(File::open(path).context(path)?))
    }

    fn new() -> Result<Namespace> {
        let before = Namespace::present()?;
        unshare(CloneFlags::CLONE_NEWNET).context(
            "no network namespace can be made here; the demo needs root (CAP_SYS_ADMIN)",
        )?;
        let new = Namespace::present();
        before.enter()?;
        new
    }

    fn enter(&self) -> Result<()> {
        setns(&self.0, CloneFlags::CLONE_NEWNET).context("a change of the network namespace")
    }

    /// Does `work` with this thread inside the namespace. Sockets and processes that `work` starts
    /// stay in the namespace.
    pub fn inside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Namespace::present()?;
        self.enter()?;
        let result = work();
        before.enter()?;
        result
    }

    /// The path by which another process finds the namespace.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.0.as_raw_fd())
    }

    /// Has the program ip of iproute2 work on these lines inside the namespace.
    fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new(program("ip", "iproute2")?);
        ip.args(["-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inside(|| ip.spawn().context("ip"))?;
        child.stdin.take().context("the input of ip")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip refuses this:\n{lines}{}", errors.trim_end());
        Ok(())
    }
}

/// The two namespaces, connected.
pub struct Network {
    /// Kea and nginx are here.
    pub server: Namespace,
    /// The relay agent is here. The machine's cable is a tap device in this namespace: the host's
    /// end of the cable is the port, QEMU holds the other end.
    pub relay: Namespace,
}

impl Network {
    /// Makes the network. `port` is the name of the port that the machine is connected to.
    pub fn new(port: &str) -> Result<Network> {
        let network = Network { server: Namespace::new()?, relay: Namespace::new()? };
        network.server.ip(&format!(
            "link set lo up\n\
             link add eth0 type veth peer name uplink netns {}\n\
             addr add {SERVER}/24 dev eth0\n\
             link set eth0 up\n",
            network.relay.path()
        ))?;
        network.relay.ip("link set lo up\n\
             addr add 198.51.100.1/24 dev uplink\n\
             link set uplink up\n")?;
        network
            .relay
            .ip(&format!(
                "tuntap add dev {port} mode tap\n\
                 addr add {RELAY}/24 dev {port}\n\
                 link set {port} up\n"
            ))
            .context("no tap device can be made here; the demo needs /dev/net/tun")?;
        network.server.ip("route add 192.0.2.0/24 via 198.51.100.1\n")?;
        // The kernel shows each thread the settings of the thread's own namespace.
        let forwarding = "/proc/sys/net/ipv4/ip_forward";
        network.relay.inside(|| fs::write(forwarding, "1").context(forwarding))?;
        Ok(network)
    }
}
