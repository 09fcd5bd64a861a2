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
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what no event tells of.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(wait_until_within(PATIENCE, condition), "{what}: not in {PATIENCE:?}");
}

/// Waits for what may never be; whether it came to be.
pub fn wait_until_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Where a server program is: its folder is not always in an ordinary user's PATH. `package` is Debian's.
pub fn program(name: &str, package: &str) -> anyhow::Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| anyhow::anyhow!("{name} is not installed: it is in Debian's package {package}"))
}
