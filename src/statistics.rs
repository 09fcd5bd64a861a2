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
/// Packets that got a stale answer, because no service had a fresh one.
pub const STALE: &str = "remote-opts-stale";
/// Packets whose lookup failed.
pub const FAILED: &str = "remote-opts-failed";
/// Packets whose lookup was shed: over the concurrency limit, or without a parking place.
pub const SHED: &str = "remote-opts-turned-away";
/// Packets of [`FAILED`] and [`SHED`] that got no reply, as `on-error` says.
pub const DROPPED: &str = "remote-opts-dropped";

/// Makes all statistics known to Kea. They keep their values over a reload. Main thread.
pub fn announce() {
    [CACHED, ASKED, STALE, FAILED, SHED, DROPPED].into_iter().for_each(|name| add(name, 0));
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
