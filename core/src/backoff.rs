// SPDX-License-Identifier: MPL-2.0
//! The requests that failed lately. Each one backs off: no service is asked for it for a while.
//!
//! A back-off is about one request. Whether a service is up is the matter of
//! [`crate::failover`], which owns the back-offs.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::request::Request;
use crate::sync::{Instant, Mutex, MutexGuard};

/// The time of a request's first back-off. Each failure in a row doubles it.
pub(crate) const FIRST: Duration = Duration::from_secs(1);

/// The longest back-off.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// The share of a back-off's time that chance may take away, so that requests that failed together
/// are not asked again together.
const JITTER: f64 = 0.2;

/// The most requests remembered. The one that failed first goes first.
pub(crate) const MOST: usize = 10_000;

/// The requests that back off. Any thread.
#[derive(Default)]
pub struct BackOffs(Mutex<Entries>);

struct Entries(LruCache<Arc<Request>, BackOff>);

impl Default for Entries {
    fn default() -> Self {
        // `failed` keeps the bound: LruCache would allocate a bound at once.
        Entries(LruCache::unbounded())
    }
}

/// One request's back-off.
struct BackOff {
    /// The failures in a row.
    failures: u32,
    /// No service is asked until here.
    until: Instant,
    /// Whether a service was to blame, not its answer.
    of_service: bool,
}

impl BackOffs {
    /// Whether no service is to be asked for this request now.
    pub fn holds(&self, request: &Arc<Request>) -> bool {
        self.entries().0.peek(request).is_some_and(|entry| Instant::now() < entry.until)
    }

    /// Begins the back-off of a request that failed. `of_service` says that a service was to
    /// blame, not its answer.
    pub fn failed(&self, request: &Arc<Request>, of_service: bool) {
        let now = Instant::now();
        let mut entries = self.entries();
        let before = entries.0.pop(request);
        // A failure of long ago is no failure in a row.
        let before = before.filter(|entry| now < entry.until + LONGEST);
        let failures = before.map_or(1, |entry| entry.failures.saturating_add(1));
        let doubled = FIRST.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST);
        let until = now + doubled.mul_f64(1.0 - JITTER * fastrand::f64());
        entries.0.push(Arc::clone(request), BackOff { failures, until, of_service });
        while entries.0.len() > MOST {
            entries.0.pop_lru();
        }
    }

    /// Ends the back-off of a request that was answered.
    pub fn answered(&self, request: &Arc<Request>) {
        self.entries().0.pop(request);
    }

    /// Ends the back-offs for which `is_over` says so. It is told whether a service was to blame.
    pub fn end(&self, is_over: impl Fn(bool) -> bool) {
        let mut entries = self.entries();
        let over = entries.0.iter().filter(|(_, entry)| is_over(entry.of_service));
        let over: Vec<_> = over.map(|(request, _)| Arc::clone(request)).collect();
        for request in over {
            entries.0.pop(&request);
        }
    }

    /// How many requests back off now.
    pub fn number(&self) -> usize {
        let now = Instant::now();
        self.entries().0.iter().filter(|(_, entry)| now < entry.until).count()
    }

    /// Forgets all failures. Returns how many requests backed off.
    pub fn end_all(&self) -> usize {
        let number = self.number();
        self.entries().0.clear();
        number
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::failover::scripted::request;

    /// How long the request backs off now, at least and at most.
    async fn back_off(back_offs: &BackOffs, request: &Arc<Request>) -> Duration {
        let start = Instant::now();
        while back_offs.holds(request) {
            advance(Duration::from_millis(10)).await;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn each_failure_in_a_row_doubles_the_time_up_to_half_a_minute() {
        let (back_offs, request) = (BackOffs::default(), request(1));
        assert!(!back_offs.holds(&request));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            back_offs.failed(&request, true);
            let time = back_off(&back_offs, &request).await;
            let longest = Duration::from_secs(seconds);
            assert!(time <= longest + Duration::from_millis(10), "{time:?} {longest:?}");
            assert!(time >= longest.mul_f64(1.0 - JITTER), "{time:?} {longest:?}");
        }
        // A failure long after the last one is the first.
        advance(2 * LONGEST).await;
        back_offs.failed(&request, true);
        assert!(back_off(&back_offs, &request).await <= FIRST + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_it() {
        let (back_offs, request) = (BackOffs::default(), request(1));
        back_offs.failed(&request, false);
        back_offs.answered(&request);
        assert!(!back_offs.holds(&request));
        back_offs.failed(&request, false);
        assert!(back_off(&back_offs, &request).await <= FIRST + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_well_again_ends_what_it_was_to_blame_for() {
        let (back_offs, blamed, bad) = (BackOffs::default(), request(1), request(2));
        back_offs.failed(&blamed, true);
        back_offs.failed(&bad, false);
        back_offs.end(|of_service| of_service);
        assert!(!back_offs.holds(&blamed));
        assert!(back_offs.holds(&bad));
        back_offs.end(|of_service| !of_service);
        assert!(!back_offs.holds(&bad));
    }

    #[tokio::test(start_paused = true)]
    async fn all_of_them_can_be_ended() {
        let back_offs = BackOffs::default();
        back_offs.failed(&request(1), true);
        advance(FIRST).await;
        back_offs.failed(&request(2), false);
        assert_eq!(back_offs.number(), 1, "the first one is over");
        assert_eq!(back_offs.end_all(), 1);
        assert!(!back_offs.holds(&request(2)));
        assert_eq!(back_offs.number(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_is_bounded() {
        let back_offs = BackOffs::default();
        let about = |number: usize| {
            let sub_options = vec![(1, number.to_be_bytes().to_vec())];
            Arc::new(Request::new(sub_options, Vec::new()).unwrap())
        };
        (0..=MOST).for_each(|number| back_offs.failed(&about(number), true));
        assert!(!back_offs.holds(&about(0)));
        assert!(back_offs.holds(&about(1)) && back_offs.holds(&about(MOST)));
    }
}
