// SPDX-License-Identifier: MPL-2.0
//! What the library counts in Kea's statistics (`statistic-get-all`): each packet that is looked
//! up, by the outcome.
//!
//! The names are a contract with operators. They stay even where the code has another word.

use crate::ffi;
use crate::log::REMOPTS_EXCEPTION;

/// Packets that got a kept answer, or the answer of their own exchange.
pub const CACHED: &str = "remote-opts-cached";
/// Packets that got an answer for which a service was asked.
pub const ASKED: &str = "remote-opts-asked";
/// Packets that got a stale answer, because no fresh one could be had.
pub const STALE: &str = "remote-opts-stale";
/// Packets whose lookup failed.
pub const FAILED: &str = "remote-opts-failed";
/// Packets that did not wait for their lookup, which went on without them: no parking place was
/// free, or the lookup stood in line for too long, or `on-miss` is `retry`.
pub const SHED: &str = "remote-opts-turned-away";
/// Packets whose request could not be made, for a reason that lies on this machine.
pub const CONGESTED: &str = "remote-opts-congested";
/// Packets of [`FAILED`], [`SHED`] and [`CONGESTED`] that got no reply.
pub const DROPPED: &str = "remote-opts-dropped";
/// Packets that got no reply because the service said so.
pub const DROPPED_BY_SERVICE: &str = "remote-opts-dropped-by-service";
/// Retransmissions that were ended, because the first packet was parked.
pub const RETRANSMISSIONS: &str = "remote-opts-retransmissions";
/// Parked packets that were let go, because their client sent another one.
pub const SUPERSEDED: &str = "remote-opts-superseded";
/// DHCPNAKs that were not sent, because the lookup had failed.
pub const NAKS_HELD_BACK: &str = "remote-opts-naks-held-back";

/// Every statistic.
const ALL: [&str; 11] = [
    CACHED,
    ASKED,
    STALE,
    FAILED,
    SHED,
    CONGESTED,
    DROPPED,
    DROPPED_BY_SERVICE,
    RETRANSMISSIONS,
    SUPERSEDED,
    NAKS_HELD_BACK,
];

/// Makes all statistics known to Kea. They keep their values over a reload. Main thread.
pub fn announce() {
    ALL.into_iter().for_each(|name| add(name, 0));
}

/// Counts one packet. In a callout, or on Kea's main thread.
pub fn count(name: &str) {
    add(name, 1);
}

fn add(name: &str, number: i64) {
    if let Err(exception) = ffi::add_to_statistic(name, number) {
        REMOPTS_EXCEPTION.error([&"statistics", &exception]);
    }
}
