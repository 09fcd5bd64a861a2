//! Kea's log: the messages of messages/remopts_messages.mes, and what the HTTP libraries log.
//!
//! Everything goes through Kea's logger `remote-opts-hooks`; any thread may log.

use std::fmt::Display;
use std::sync::Arc;

use crate::bridge::{self, Severity};

/// Kea's debug level for one line a packet (its `DBGLVL_TRACE_BASIC`).
const PACKET: i32 = 40;
/// Kea's debug level for the steps of a packet's handling (its `DBGLVL_TRACE_DETAIL`).
const DETAIL: i32 = 50;
/// Kea's highest debug level.
const ALL: i32 = 99;

/// What a log line calls a packet. It becomes text only where a line is written, in any thread.
pub type Label = Arc<dyn Display + Send + Sync>;

/// A message of the .mes file with `N` placeholders.
pub struct Message<const N: usize> {
    id: &'static str,
}

impl<const N: usize> Message<N> {
    const fn new(id: &'static str) -> Self {
        Message { id }
    }

    /// Whether [`debug`](Self::debug) would log: asked where gathering the arguments costs something.
    pub fn debug_enabled(&self) -> bool {
        bridge::log_enabled(Severity::Debug, PACKET)
    }

    /// Logs at Kea's debug level 40.
    pub fn debug(&self, arguments: [&dyn Display; N]) {
        self.log(Severity::Debug, PACKET, arguments);
    }

    /// Logs as information.
    pub fn info(&self, arguments: [&dyn Display; N]) {
        self.log(Severity::Info, 0, arguments);
    }

    /// Logs as a warning.
    pub fn warn(&self, arguments: [&dyn Display; N]) {
        self.log(Severity::Warn, 0, arguments);
    }

    /// Logs as an error.
    pub fn error(&self, arguments: [&dyn Display; N]) {
        self.log(Severity::Error, 0, arguments);
    }

    fn log(&self, severity: Severity, debug_level: i32, arguments: [&dyn Display; N]) {
        if bridge::log_enabled(severity, debug_level) {
            bridge::log_message(
                severity,
                debug_level,
                self.id,
                &arguments.map(|argument| argument.to_string()),
            );
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// Hands what the libraries log to Kea's logger, as [`REMOPTS_HTTP_LIBRARY`].
struct LibraryLog;

impl log::Log for LibraryLog {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        let (severity, debug_level) = kea_severity(metadata.level());
        bridge::log_enabled(severity, debug_level)
    }

    fn log(&self, record: &log::Record) {
        let (severity, debug_level) = kea_severity(record.level());
        REMOPTS_HTTP_LIBRARY.log(severity, debug_level, [&record.target(), record.args()]);
    }

    fn flush(&self) {}
}

fn kea_severity(level: log::Level) -> (Severity, i32) {
    match level {
        log::Level::Error => (Severity::Error, 0),
        log::Level::Warn => (Severity::Warn, 0),
        log::Level::Info => (Severity::Info, 0),
        log::Level::Debug => (Severity::Debug, DETAIL),
        log::Level::Trace => (Severity::Debug, ALL),
    }
}

/// Sends what the libraries log, from now on, to Kea's log. Called at each load; the first call counts.
pub fn catch_library_log() {
    // An error means that an earlier load of this library has set it.
    if log::set_logger(&LibraryLog).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}
