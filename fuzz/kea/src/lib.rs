// SPDX-License-Identifier: MPL-2.0
//! What the targets share: Kea's side of the library, and the log.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use serde_json::Value;

pub use bridge::{Command, Served, Way};

#[cxx::bridge(namespace = "fuzz")]
mod bridge {
    /// How Kea deals with a packet, beside what the packet says.
    #[derive(Clone, Copy)]
    struct Way {
        /// Kea finds no subnet for it.
        without_subnet: bool,
        /// Kea refuses the client its address.
        refuses: bool,
    }

    /// What became of a packet.
    struct Served {
        /// The reply as Kea made it; empty where there is none.
        made: Vec<u8>,
        /// The reply after pkt4_send; empty where none is sent.
        sent: Vec<u8>,
        /// Kea can read what is sent, as far as it can read what it made.
        is_readable: bool,
        /// The reply gives the client an address.
        has_lease: bool,
        /// The client's hardware address.
        hardware: Vec<u8>,
        /// The first sub-options 1, 2 and 9 of its option 82, empty where they are not there.
        sub_options: [Vec<u8>; 3],
    }

    /// The response to a command.
    struct Command {
        /// Kea takes these arguments as JSON. Otherwise the command does not reach the library.
        is_json: bool,
        /// The arguments are a map, or null, which stands for no arguments.
        is_map: bool,
        result: i64,
    }

    unsafe extern "C++" {
        include!("fuzz-kea/src/kea.h");

        /// Sets Kea's libraries up as kea-dhcp4 does, and loads the library of this path.
        fn start(library: &str, parameters: &str, log: &str) -> Result<()>;
        /// Does with a packet what kea-dhcp4 does with it. The error is a fault of the library.
        fn serve(packet: &[u8], way: Way) -> Result<Served>;
        /// Forgets the leases.
        fn forget_leases();
        /// Gives a command with these arguments to the library. Where `only` names members, the
        /// library gets no others. The error is a fault of the library.
        fn run_command(name: &str, arguments: &[u8], only: &[&str]) -> Result<Command>;
    }
}

/// What Kea writes when a callout fails.
const FAULTS: [&str; 5] = [
    "REMOPTS_EXCEPTION",
    "REMOPTS_PANIC",
    "HOOKS_CALLOUT_ERROR",
    "HOOKS_CALLOUT_EXCEPTION",
    "ERROR_CALLOUT",
];

static LOG: OnceLock<File> = OnceLock::new();

/// Loads the library with these parameters, once in a process.
pub fn load(parameters: &Value) {
    let log = tempfile::tempfile().expect("a file for the log");
    let path = format!("/proc/self/fd/{}", log.as_raw_fd());
    let library = env!("CARGO_CDYLIB_FILE_KEA_HOOK_REMOTE_OPTS_remote_opts");
    let started = bridge::start(library, &parameters.to_string(), &path);
    LOG.set(log).expect("one library in a process");
    if let Err(exception) = started {
        panic!("{exception}\n{}", log_text());
    }
}

/// Gives a packet to Kea.
pub fn serve(packet: &[u8], way: Way) -> Served {
    let served = bridge::serve(packet, way).expect("Kea goes on");
    check_log();
    served
}

/// Gives a command to the library.
pub fn run(name: &str, arguments: &[u8], only: &[&str]) -> Command {
    let command = bridge::run_command(name, arguments, only);
    check_log();
    command.expect("a response as Kea wants it")
}

/// Brings the library back to where it began: no answer, no request that backs off, no lease.
pub fn forget() {
    bridge::forget_leases();
    for name in ["remote-opts-cache-clear", "remote-opts-retry"] {
        assert_ne!(run(name, b"{}", &[]).result, 1);
    }
}

/// No callout has met an error.
fn check_log() {
    let text = log_text();
    assert!(!FAULTS.iter().any(|fault| text.contains(fault)), "{text}");
}

/// What the log has got since the last call.
fn log_text() -> String {
    let mut log = LOG.get().expect("a log");
    let mut text = Vec::new();
    log.rewind().and_then(|()| log.read_to_end(&mut text)).expect("the log can be read");
    log.set_len(0).expect("the log can be emptied");
    String::from_utf8_lossy(&text).into_owned()
}
