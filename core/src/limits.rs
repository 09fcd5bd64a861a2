// SPDX-License-Identifier: MPL-2.0
//! Holds the limits that SECURITY.md names against the limits of the code.

use std::time::Duration;

use native_tls::Protocol;

use crate::answer::MAX_DEPTH;
use crate::cache::{AWAITED, EXCHANGE, MOST_BYTES, MOST_EXCHANGE_BYTES, MOST_EXCHANGES};
use crate::cache_file::LONGEST_LINE;
use crate::config::parameter::{
    CACHE_SIZE, CACHE_TTL, MAX_IN_FLIGHT, MAX_REPLY_SIZE, MOST_SERVICES, Parameter, STALE_IF_ERROR,
    TIMEOUT, Takes,
};
use crate::failover::{DOWN_AFTER, LONGEST_PAUSE};
use crate::fetch::MAX_BODY;
use crate::http::limits as http;
use crate::lookup::{MOST_BYTES_IN_LINE, MOST_IN_LINE, MOST_LEFT};
use crate::parking::PARKED_PACKET_LIMIT;
use crate::runtime::FILE_THREADS;
use crate::{backoff, probe, throttle, work};

const SECURITY: &str = include_str!("../../SECURITY.md");

/// The first table of the chapter "Limits" has these rows, in this order, and no other row. (The
/// second table is about the Kea adapter, whose own test reads it.)
#[test]
fn security_md_has_the_limits_of_core() {
    let (_, chapter) = SECURITY.split_once("\n## Limits\n").expect("the chapter");
    let (core, _) = chapter.split_once("\n### In the Kea adapter\n").expect("the second table");
    let rows = core.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.trim_start_matches("| ").split(" | ");
            format!("{}: {}", cells.next().expect("a limit"), cells.next().expect("a number"))
        })
        .collect();
    let everything = 2 * MOST_BYTES + MOST_EXCHANGE_BYTES + MOST_BYTES_IN_LINE;
    let expected = [
        ("Body of a response, also after decompression", bytes(MAX_BODY)),
        ("JSON in an answer", format!("{MAX_DEPTH} levels")),
        ("Head of a response by HTTP/1.1", bytes(http::LONGEST_HEAD)),
        ("Header fields of a response by HTTP/1.1", http::MOST_FIELDS.to_string()),
        ("Header fields of a response by HTTP/2", bytes(http::MOST_FIELD_BYTES as usize)),
        ("Unread responses on one HTTP/2 connection", bytes(http::CONNECTION_WINDOW as usize)),
        ("Rest of a response whose status says it all", time(http::REST_OF_BODY)),
        ("Redirects followed", "0".to_owned()),
        ("Oldest version of TLS", tls(http::OLDEST_TLS)),
        ("Life of an answer by the service's word", days(http::FOR_EVER)),
        ("Services in `url`", MOST_SERVICES.to_string()),
        ("`timeout`: one lookup, all services together", range(&TIMEOUT)),
        ("`max-in-flight`: requests in flight", range(&MAX_IN_FLIGHT)),
        ("HTTP/2 connections to one service", http::HTTP2_CONNECTIONS.to_string()),
        ("Requests on one HTTP/2 connection", http::STREAMS.to_string()),
        ("A silent HTTP/2 connection ends", time(http::PING_ENDS_AFTER)),
        ("A connection ends that acknowledges nothing", time(http::UNACKNOWLEDGED)),
        (
            "Back-off of a request that fails",
            format!("{} to {}", time(backoff::FIRST), time(backoff::LONGEST)),
        ),
        ("Requests that back off", count(backoff::MOST as u64)),
        ("Different requests in a row that fail, until a service is down", DOWN_AFTER.to_string()),
        ("Time from one probe of a service to the next", time(probe::INTERVAL)),
        ("Probes of one service in flight", probe::MOST_IN_FLIGHT.to_string()),
        ("`Retry-After`", time(LONGEST_PAUSE)),
        ("Lookups in line", count(MOST_IN_LINE as u64)),
        ("Requests in line, in bytes", bytes(MOST_BYTES_IN_LINE)),
        ("Clients remembered that have left one lookup", MOST_LEFT.to_string()),
        ("Parked packets, where Kea's `parked-packet-limit` says nothing", {
            PARKED_PACKET_LIMIT.to_string()
        }),
        ("An answer waits for room in Kea's packet queue", time(work::PATIENCE)),
        ("`cache-size`: answers kept", range(&CACHE_SIZE)),
        ("Answers kept, in bytes", bytes(MOST_BYTES)),
        ("`cache-ttl`", range(&CACHE_TTL)),
        ("`stale-if-error`", range(&STALE_IF_ERROR)),
        ("Exchanges remembered", count(MOST_EXCHANGES as u64)),
        ("Exchanges remembered, in bytes", bytes(MOST_EXCHANGE_BYTES)),
        ("An exchange keeps its answer", time(EXCHANGE)),
        ("An answer waits for a client that got no reply", time(AWAITED)),
        ("All that is kept or in line, in bytes", bytes(everything)),
        ("Line of the file of kept answers", bytes(LONGEST_LINE as usize)),
        ("`max-reply-size`", range(&MAX_REPLY_SIZE)),
        ("Equal lines in the log", format!("{} in {}", throttle::LINES, time(throttle::WINDOW))),
        ("Threads that read and write files", FILE_THREADS.to_string()),
    ];
    for (row, (limit, number)) in rows.iter().zip(&expected) {
        assert_eq!(*row, format!("{limit}: {number}"));
    }
    assert_eq!(rows.len(), expected.len());
}

/// A number with commas between its thousands.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn bytes(number: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    match number {
        number if number % MIB == 0 => format!("{} MiB", number / MIB),
        number if number % KIB == 0 => format!("{} KiB", number / KIB),
        number => format!("{number} bytes"),
    }
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        millis if millis % 1000 == 0 => format!("{} s", millis / 1000),
        millis => format!("{millis} ms"),
    }
}

fn tls(version: Protocol) -> String {
    match version {
        Protocol::Tlsv12 => "1.2".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A number of seconds as days.
fn days(seconds: u64) -> String {
    const DAY: u64 = 24 * 3600;
    assert_eq!(seconds % DAY, 0);
    format!("{} days", count(seconds / DAY))
}

/// What a parameter takes, and its default.
fn range(parameter: &Parameter) -> String {
    let Takes::Number { unit, range, default } = &parameter.takes else {
        panic!("{} is no number", parameter.name);
    };
    let [default, start, end] = [*default, *range.start(), *range.end()].map(count);
    format!("{default} {unit} ({start} to {end})")
}
