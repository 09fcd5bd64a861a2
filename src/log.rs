// SPDX-License-Identifier: MPL-2.0
//! Kea's log: the messages of messages/remopts_messages.mes, and the messages of the libraries that
//! core uses.
//!
//! All lines go through Kea's logger `remote-opts-hooks`. Any thread may log.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::ffi::{self, Severity};

/// Kea's debug level for one line a packet (its `DBGLVL_TRACE_BASIC`).
const PACKET: i32 = 40;
/// Kea's debug level for the steps of a packet's handling (its `DBGLVL_TRACE_DETAIL`).
const DETAIL: i32 = 50;
/// Kea's highest debug level.
const ALL: i32 = 99;

/// A message of the message file with `N` placeholders.
pub struct Message<const N: usize> {
    id: &'static str,
}

impl<const N: usize> Message<N> {
    const fn new(id: &'static str) -> Self {
        Message { id }
    }

    /// Whether [`debug`](Self::debug) would write a line. To be asked before arguments are made
    /// that cost something.
    pub fn debug_enabled(&self) -> bool {
        ffi::log_enabled(Severity::Debug, PACKET)
    }

    /// Whether [`info`](Self::info) would write a line. To be asked before arguments are made that
    /// cost something.
    pub fn info_enabled(&self) -> bool {
        ffi::log_enabled(Severity::Info, 0)
    }

    /// Logs at Kea's debug level 40. An argument becomes text only when the line is written.
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
        if ffi::log_enabled(severity, debug_level) {
            let mut number = 0;
            let arguments = arguments.map(|argument| {
                number += 1;
                escaped(argument.to_string(), number + 1..=N + 1)
            });
            ffi::log_message(severity, debug_level, self.id, &arguments);
        }
    }
}

/// An argument of a message as the log shows it: with its control characters escaped, and each `%`
/// that Kea would take for a placeholder. A packet or a service may have written a part of it, and
/// must not write lines of its own into the log.
///
/// Kea puts the arguments in one after the other, and looks for the next placeholder in the arguments
/// before it, too. At the end it complains of a placeholder that is left. `marks` are the numbers of
/// the placeholders that Kea looks for later.
fn escaped(text: String, marks: RangeInclusive<usize>) -> String {
    let needs_a_look = |character: char| character == '%' || is_unsafe(character);
    if !text.contains(needs_a_look) {
        return text;
    }
    let is_mark = |rest: &str| marks.clone().any(|mark| rest.starts_with(&format!("%{mark}")));
    let escape = |(at, character): (usize, char)| match character {
        '%' if is_mark(&text[at..]) => character.escape_unicode().to_string(),
        character if is_unsafe(character) => character.escape_default().to_string(),
        character => character.to_string(),
    };
    text.char_indices().map(escape).collect()
}

/// Whether a character would change the line that it is in: a control character, an end of line, or
/// one that turns the direction of writing around (Unicode Standard Annex #9).
fn is_unsafe(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

// The constants of the messages, which build.rs makes of the message file.
include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// Hands the messages of the libraries to Kea's logger, as [`REMOPTS_HTTP_LIBRARY`].
struct LibraryLog;

impl log::Log for LibraryLog {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        let (severity, debug_level) = kea_severity(metadata.level());
        ffi::log_enabled(severity, debug_level)
    }

    fn log(&self, record: &log::Record) {
        let (severity, debug_level) = kea_severity(record.level());
        REMOPTS_HTTP_LIBRARY.log(severity, debug_level, [&record.target(), record.args()]);
    }

    fn flush(&self) {}
}

/// Kea's severity and debug level for a library's message.
fn kea_severity(level: log::Level) -> (Severity, i32) {
    match level {
        log::Level::Error => (Severity::Error, 0),
        log::Level::Warn => (Severity::Warn, 0),
        log::Level::Info => (Severity::Info, 0),
        log::Level::Debug => (Severity::Debug, DETAIL),
        log::Level::Trace => (Severity::Debug, ALL),
    }
}

/// Sends what the libraries log to Kea's log, as far as Kea's present logging configuration lets it
/// through. Called whenever that configuration may have changed: at each load, and when a
/// configuration comes into force. Main thread.
///
/// The level is handed to the libraries, so that a message which is not wanted costs them one
/// comparison, and not a question to Kea's logger: one HTTP request makes dozens of such messages.
pub fn catch_library_log() {
    // The error says that an earlier load has set the logger: the library stays mapped when it is
    // unloaded.
    let _ = log::set_logger(&LibraryLog);
    let wanted = log::Level::iter().filter(|level| {
        let (severity, debug_level) = kea_severity(*level);
        ffi::log_enabled(severity, debug_level)
    });
    let most = wanted.max().map_or(log::LevelFilter::Off, |level| level.to_level_filter());
    log::set_max_level(most);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_s_severity_is_kept_and_its_debug_messages_have_levels() {
        let severities = log::Level::iter().map(kea_severity).map(|(severity, level)| {
            let name = match severity {
                Severity::Error => "error",
                Severity::Warn => "warn",
                Severity::Info => "info",
                _ => "debug",
            };
            (name, level)
        });
        let expected = [("error", 0), ("warn", 0), ("info", 0), ("debug", 50), ("debug", 99)];
        assert_eq!(severities.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_line_of_the_log_is_one_line() {
        let text = "a\nREMOPTS_UNLOADED\r\u{1b}[31m\u{85}\u{7f}\u{202e} é \"b\"";
        let shown = "a\\nREMOPTS_UNLOADED\\r\\u{1b}[31m\\u{85}\\u{7f}\\u{202e} é \"b\"";
        assert_eq!(escaped(text.to_owned(), 2..=2), shown);
        assert_eq!(escaped("plain".to_owned(), 2..=2), "plain");
    }

    #[test]
    fn an_argument_has_no_placeholder_of_kea_s() {
        let shown =
            |number: usize, of: usize| escaped("%1 %2 %3A %4 100%".to_owned(), number + 1..=of + 1);
        assert_eq!(shown(1, 1), r"%1 \u{25}2 %3A %4 100%");
        assert_eq!(shown(1, 2), r"%1 \u{25}2 \u{25}3A %4 100%");
        assert_eq!(shown(2, 2), r"%1 %2 \u{25}3A %4 100%");
        assert_eq!(shown(3, 3), r"%1 %2 %3A \u{25}4 100%");
    }

    /// Without a server there is no log: no line, and no crash.
    #[test]
    fn without_kea_s_logging_nothing_is_written() {
        catch_library_log();
        assert!(!REMOPTS_HTTP_LIBRARY.debug_enabled());
        REMOPTS_UNLOADED.info([]);
    }
}
