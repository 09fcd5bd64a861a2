// SPDX-License-Identifier: MPL-2.0
//! How a service that is down is asked until it is up: one probe a second, in the background, with
//! requests that clients wanted lately. No client waits for a probe.
//!
//! The failover starts the probes. Runs on the runtime's thread.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::request::Request;
use crate::sync::{Mutex, MutexGuard};

/// The time from one probe of a service to the next.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// The most probes of one service in flight, where a probe takes longer than [`INTERVAL`].
pub const MOST_IN_FLIGHT: usize = 10;

/// The most requests remembered for probes.
const MOST_WANTED: usize = 8;

/// Calls `probe` once a second, with the number of the call, until one of the probes says that the
/// service is up.
pub async fn until_up<P>(probe: impl Fn(u32) -> P)
where
    P: Future<Output = bool> + Send + 'static,
{
    let mut in_flight = JoinSet::new();
    let mut next = Instant::now() + INTERVAL;
    let mut turn = 0_u32;
    loop {
        let ended = if in_flight.is_empty() {
            sleep_until(next).await;
            None
        } else {
            timeout_at(next, in_flight.join_next()).await.ok().flatten()
        };
        if matches!(ended, Some(Ok(true))) {
            return;
        }
        if Instant::now() >= next {
            next += INTERVAL;
            if in_flight.len() < MOST_IN_FLIGHT {
                in_flight.spawn(probe(turn));
                turn = turn.wrapping_add(1);
            }
        }
    }
}

/// The requests that clients wanted lately and got no answer to. A probe takes them in turn: one
/// client's record may be all that is wrong with a request. Any thread.
#[derive(Default)]
pub struct Wanted(Mutex<VecDeque<Arc<Request>>>);

impl Wanted {
    /// Remembers a request. The next probe takes it.
    pub fn add(&self, request: &Arc<Request>) {
        let mut wanted = self.requests();
        if !wanted.contains(request) {
            wanted.truncate(MOST_WANTED - 1);
            wanted.push_front(Arc::clone(request));
        }
    }

    /// The request for the next probe. It goes to the end of the line.
    pub fn next(&self) -> Option<Arc<Request>> {
        let mut wanted = self.requests();
        let first = wanted.pop_front()?;
        wanted.push_back(Arc::clone(&first));
        Some(first)
    }

    fn requests(&self) -> MutexGuard<'_, VecDeque<Arc<Request>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn once_a_second_until_the_service_is_up() {
        let probes = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        until_up(|_| {
            let number = probes.fetch_add(1, Ordering::Relaxed);
            async move { number == 3 }
        })
        .await;
        assert_eq!(probes.load(Ordering::Relaxed), 4);
        assert_eq!(start.elapsed(), 4 * INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_does_not_keep_the_next_ones_from_starting() {
        let probes = AtomicUsize::new(0);
        let hanging = until_up(|_| {
            probes.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        });
        tokio::select! {
            () = hanging => panic!("no probe said that the service is up"),
            () = sleep(Duration::from_secs(30)) => {}
        }
        assert_eq!(probes.load(Ordering::Relaxed), MOST_IN_FLIGHT);
    }

    #[test]
    fn the_newest_request_is_next_and_each_has_its_turn() {
        let wanted = Wanted::default();
        assert_eq!(wanted.next(), None);
        let requests: Vec<_> = (0..3)
            .map(|number| Arc::new(Request::new(vec![(1, vec![number])], Vec::new()).unwrap()))
            .collect();
        requests.iter().chain(&requests).for_each(|request| wanted.add(request));
        for number in [2, 1, 0, 2] {
            assert_eq!(wanted.next().as_ref(), Some(&requests[number]));
        }
    }
}
