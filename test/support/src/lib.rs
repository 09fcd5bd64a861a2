// SPDX-License-Identifier: MPL-2.0
//! Real servers and scripted ones for the tests of the hook library. Each value of this crate owns
//! what it starts, and stops it when it is dropped. Everything runs on loopback and on free ports,
//! where the caller does not name others.
//!
//! ```text
//! dhcp::Client ──DISCOVER──▶ kea::Kea ──GET──▶ service::Service
//!              ◀──OFFER─────  (the hook) ◀─JSON──  or nginx::Nginx
//! ```
//!
//! The tests under test/kea, the demo and the benchmark use this crate. A function that a test
//! calls panics when something goes wrong; a function that the demo calls returns the error.

pub mod certificates;
pub mod ddns;
pub mod dhcp;
pub mod dhcp4o6;
pub mod examples;
pub mod holdings;
pub mod http_channel;
pub mod kea;
pub mod library;
pub mod load;
pub mod nginx;
pub mod port;
pub mod schema;
pub mod service;
pub mod storm;

use std::env;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long a test waits for something that must happen. A busy machine needs far less.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of the project: the root of the Cargo workspace.
pub fn project() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).expect("test/support lies two folders below the root")
}

/// Looks at `condition` every few milliseconds until it is true. Panics after [`PATIENCE`] with a
/// text that names `what` did not happen.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(wait_until_within(PATIENCE, condition), "{what}: not in {PATIENCE:?}");
}

/// Looks at `condition` every few milliseconds until it is true, or until `patience` is over.
/// Returns whether the condition became true.
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

/// Finds a server program. An ordinary user's PATH often lacks the folders of server programs, so
/// this function looks there too. `package` is the Debian package that the error names.
pub fn program(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: Debian has it in the package {package}"))
}
