//! What the hook counts in Kea's statistics (`statistic-get-all`): each packet looked up, by what came of it.

use crate::bridge;
use crate::messages::REMOPTS_EXCEPTION;

/// Answered with an answer that was kept.
pub const CACHED: &str = "remote-opts-cached";
/// Answered by a backend.
pub const ASKED: &str = "remote-opts-asked";
/// Answered with an answer past its life, while the backends fail.
pub const STALE: &str = "remote-opts-stale";
/// No backend had an answer.
pub const FAILED: &str = "remote-opts-failed";
/// Too many lookups were under way.
pub const TURNED_AWAY: &str = "remote-opts-turned-away";
/// Of the two before: those that got no reply, as `on-error` says.
pub const DROPPED: &str = "remote-opts-dropped";

/// Makes all of them known to Kea; they keep what they have counted over a reload.
pub fn announce() {
    [CACHED, ASKED, STALE, FAILED, TURNED_AWAY, DROPPED].into_iter().for_each(|name| add(name, 0));
}

/// Counts one packet. In a callout, or on the main thread.
pub fn count(name: &str) {
    add(name, 1);
}

fn add(name: &str, number: i64) {
    if let Err(exception) = bridge::add_to_statistic(name, number) {
        REMOPTS_EXCEPTION.error([&"statistics", &exception]);
    }
}
