// SPDX-License-Identifier: MPL-2.0
//! The peer `radius`: Kea's own hook library of this name, which asks a RADIUS server about each
//! client. The server is a FreeRADIUS that accepts every client. A relay stands before it, which
//! delays and counts the requests: FreeRADIUS itself can delay a request only with a thread that
//! waits.
//!
//! ```text
//! Kea with libdhcp_radius.so ──Access-Request──▶ relay, delay ──▶ freeradius
//!                            ◀─Access-Accept─── relay        ◀──
//! ```

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as BlockingSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

use remote_opts_test_support::kea::Setup;
use remote_opts_test_support::{PATIENCE, program, wait_until_within};

/// What every Access-Accept says as its Framed-Pool. Kea puts the client into the class of this
/// name.
pub const POOL: &str = "answered";

/// Kea refuses secrets that manuals use.
const SECRET: &str = "of-the-benchmark";

/// The longest packet of RADIUS, in bytes.
const MOST_BYTES: usize = 4096;

/// How long FreeRADIUS may take for an answer. It needs less than a millisecond.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);

/// A FreeRADIUS server behind a relay, both on free ports of loopback. When it is dropped, both
/// stop.
pub struct Radius {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _server: FreeRadius,
}

/// What the relay's tasks have in common. All of them run on one thread.
struct Shared {
    delay: Duration,
    /// How many requests wait for their answers.
    open: AtomicUsize,
    /// How many requests there have been.
    asked: AtomicUsize,
    /// Where Kea's requests come to.
    outside: UdpSocket,
    /// Where FreeRADIUS listens.
    server: SocketAddr,
    /// Sockets to FreeRADIUS that no request uses now. FreeRADIUS tells requests apart by their
    /// port and one byte of identifier, and Kea chooses the byte at random: so each request under
    /// way has a socket of its own, as it has in Kea.
    idle: Mutex<Vec<UdpSocket>>,
}

impl Radius {
    /// Starts a server that accepts every client, after this delay.
    pub fn start(delay: Duration) -> Result<Radius> {
        let server = FreeRadius::start()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let outside = runtime
            .block_on(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("the relay's socket")?;
        let address = outside.local_addr()?;
        let (open, asked, idle) = Default::default();
        let shared = Arc::new(Shared { delay, open, asked, outside, server: server.address, idle });
        let (stop, stopped) = oneshot::channel::<()>();
        let relayed = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    error = relay(relayed) => eprintln!("bench: the relay: {error}"),
                }
            });
        });
        Ok(Radius { address, shared, stop: Some(stop), thread: Some(thread), _server: server })
    }

    /// How many requests wait for their answers now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many requests there have been.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Has Kea ask this server about each client, by MAC address. An accepted client gets these
    /// options.
    ///
    /// A client without an answer gets nothing, if its pool is for the class [`POOL`] alone: the
    /// library itself goes on without an answer.
    pub fn configure(&self, setup: Setup, options: Value) -> Setup {
        let server = json!({
            "name": self.address.ip(),
            "port": self.address.port(),
            "secret": SECRET,
        });
        let parameters = json!({
            "identifier-type4": "hw-address",
            // In seconds: longer than any delay.
            "timeout": 120,
            "access": { "servers": [server] },
        });
        setup
            .set("host-reservation-identifiers", json!(["hw-address"]))
            .set("client-classes", json!([{ "name": POOL, "option-data": options }]))
            // The library keeps its answers in the cache, and does not start without the cache.
            .packaged("libdhcp_host_cache.so", json!({}))
            .packaged("libdhcp_radius.so", parameters)
    }
}

impl Drop for Radius {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic there has been printed.
        }
    }
}

/// Relays requests until the socket fails.
async fn relay(shared: Arc<Shared>) -> std::io::Error {
    let mut request = [0; MOST_BYTES];
    loop {
        let (length, from) = match shared.outside.recv_from(&mut request).await {
            Ok(received) => received,
            Err(error) => return error,
        };
        let (shared, request) = (Arc::clone(&shared), request[..length].to_vec());
        shared.asked.fetch_add(1, Ordering::Relaxed);
        shared.open.fetch_add(1, Ordering::Relaxed);
        drop(tokio::spawn(async move {
            if let Err(error) = shared.exchange(&request, from).await {
                eprintln!("bench: the relay: {error:#}");
            }
            shared.open.fetch_sub(1, Ordering::Relaxed);
        }));
    }
}

impl Shared {
    /// Relays one request and its answer.
    async fn exchange(&self, request: &[u8], from: SocketAddr) -> Result<()> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let idle = lock(&self.idle).pop();
        let socket = match idle {
            Some(socket) => socket,
            None => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                socket.connect(self.server).await?;
                socket
            }
        };
        socket.send(request).await?;
        let mut answer = vec![0; MOST_BYTES];
        let length = timeout(SERVER_PATIENCE, socket.recv(&mut answer))
            .await
            .context("no answer of FreeRADIUS")??;
        self.outside.send_to(&answer[..length], from).await?;
        // Only now: a late answer must not be taken for the answer to another request.
        lock(&self.idle).push(socket);
        Ok(())
    }
}

fn lock(idle: &Mutex<Vec<UdpSocket>>) -> MutexGuard<'_, Vec<UdpSocket>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A FreeRADIUS server. When it is dropped, it ends.
struct FreeRadius {
    child: Child,
    address: SocketAddr,
    /// Holds its configuration and its log.
    _folder: TempDir,
}

impl FreeRadius {
    fn start() -> Result<FreeRadius> {
        let folder = tempfile::Builder::new().prefix("freeradius-").tempdir()?;
        let address = BlockingSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let file = folder.path().join("radiusd.conf");
        fs::write(file, configuration(folder.path(), address))?;
        let log = folder.path().join("log");
        // setpriv: the kernel ends FreeRADIUS when this process dies without cleaning up.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program("freeradius", "freeradius")?)
            .args(["-f", "-d"])
            .arg(folder.path())
            .arg("-l")
            .arg(&log)
            .stdin(Stdio::null())
            .spawn()
            .context("setpriv of Debian's util-linux")?;
        let mut server = FreeRadius { child, address, _folder: folder };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let is_ready = || said().contains("Ready to process requests");
        let mut has_ended = || server.child.try_wait().is_ok_and(|status| status.is_some());
        wait_until_within(PATIENCE, || is_ready() || has_ended());
        if !is_ready() {
            bail!("freeradius did not start:\n{}", said());
        }
        Ok(server)
    }
}

impl Drop for FreeRadius {
    fn drop(&mut self) {
        // It holds nothing that it would have to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The least that FreeRADIUS needs to accept every client. It looks nothing up, writes nothing
/// down, and forgets a request at once when it is answered.
fn configuration(folder: &Path, address: SocketAddr) -> String {
    let (folder, ip, port) = (folder.display(), address.ip(), address.port());
    format!(
        r#"
name = freeradius
confdir = "{folder}"
logdir = "{folder}"
run_dir = "{folder}"
db_dir = "{folder}"
libdir = /usr/lib/freeradius
cleanup_delay = 0
max_requests = 65536
hostname_lookups = no
proxy_requests = no
log {{
    destination = files
    file = "{folder}/log"
}}
security {{
    reject_delay = 0
    status_server = no
}}
thread pool {{
    start_servers = 2
    max_servers = 2
    min_spare_servers = 1
    max_spare_servers = 2
    max_requests_per_server = 0
}}
client kea {{
    ipaddr = {ip}
    secret = {SECRET}
    # Kea 3.0 sends none.
    require_message_authenticator = no
    limit_proxy_state = yes
}}
server default {{
    listen {{
        type = auth
        ipaddr = {ip}
        port = {port}
    }}
    authorize {{
        update control {{
            Auth-Type := Accept
        }}
        update reply {{
            Framed-Pool := "{POOL}"
        }}
    }}
}}
"#
    )
}
