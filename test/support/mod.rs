//! What the tests against a real Kea share: the server, its clients and the HTTP backend, each a value that
//! cleans up when it is dropped.
//!
//! ```text
//! dhcp::Client ──DISCOVER──▶ kea::Kea ──GET──▶ backend::Backend
//!              ◀──OFFER─────  (the hook) ◀─JSON──
//! ```
#![allow(dead_code)] // Each program that includes this module uses a part of it.

pub mod backend;
pub mod certificates;
pub mod dhcp;
pub mod kea;
pub mod library;
pub mod load;
pub mod nginx;
pub mod schema;

use std::thread;
use std::time::{Duration, Instant};

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Waits for what no event tells of.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where a server program is: its folder is not always in an ordinary user's PATH. `package` is Debian's.
fn program(name: &str, package: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| anyhow::anyhow!("{name} is not installed: it is in Debian's package {package}"))
}
