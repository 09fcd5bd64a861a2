//! The counters among Kea's own statistics: one count for each packet that is looked up.

use serde_json::json;

use crate::support::backend::{Answer, Backend};
use crate::support::kea::{Kea, Setup};
use crate::support::wait_until;
use crate::{FOO_BAR, in_both_modes, port};

const NAMES: [&str; 6] = ["cached", "asked", "stale", "failed", "turned-away", "dropped"];

/// In the order of [`NAMES`].
fn counters(kea: &Kea) -> [Option<i64>; 6] {
    NAMES.map(|name| kea.statistic(&format!("remote-opts-{name}")))
}

#[test]
fn every_counter_is_there_after_the_load() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
        assert_eq!(counters(&kea), [Some(0); 6]);
        let all = kea.command("statistic-get-all").unwrap();
        for name in NAMES {
            assert!(all["arguments"][format!("remote-opts-{name}")].is_array(), "{name}: {all}");
        }
    });
}

#[test]
fn each_packet_that_is_looked_up_counts_once() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let parameters = json!({"url": backend.url("/"), "user-class": "test"});
        let kea = Setup::new(threads).hook(parameters).start();
        let client = || kea.client().with(77, "test").with(82, FOO_BAR);
        let assert_counted = |counts: [i64; 6]| assert_eq!(counters(&kea), counts.map(Some));

        client().exchange();
        assert_counted([1, 1, 0, 0, 0, 0]);
        client().exchange();
        client().inform();
        assert_counted([4, 1, 0, 0, 0, 0]);
        // Refused by the filter; without a name.
        kea.client().with(77, "other").with(82, FOO_BAR).exchange();
        kea.client().with(77, "test").exchange();
        assert_counted([4, 1, 0, 0, 0, 0]);

        // Nothing for this client is an answer.
        backend.answer(Answer::status(404, "").cache_control("max-age=0"));
        kea.client().with(77, "test").with(82, port(1)).discover();
        assert_counted([4, 2, 0, 0, 0, 0]);
        backend.answer(Answer::status(500, ""));
        for number in 2..7 {
            // The last two without a request: the backend is given up.
            kea.client().with(77, "test").with(82, port(number)).discover();
        }
        assert_counted([4, 2, 0, 5, 0, 0]);
    });
}

#[test]
fn stale_answers_and_dropped_packets_are_counted() {
    in_both_modes(|threads| {
        let backend =
            Backend::answering(Answer::json(json!({"224": "somestring"})).cache_control("max-age=0"));
        let parameters = json!({"url": backend.url("/"), "stale-if-error": 600, "on-error": "drop"});
        let kea = Setup::new(threads).hook(parameters).start();
        kea.client().with(82, FOO_BAR).discover();
        assert_eq!(counters(&kea), [0, 1, 0, 0, 0, 0].map(Some));
        backend.answer(Answer::status(500, ""));
        kea.client().with(82, FOO_BAR).discover();
        assert_eq!(counters(&kea), [0, 1, 1, 0, 0, 0].map(Some));
        let dropped = kea.client().with(82, port(1));
        dropped.send_discover();
        wait_until("a failed lookup and a dropped packet", || counters(&kea) == [0, 1, 1, 1, 0, 1].map(Some));
        assert!(!dropped.has_reply());
    });
}
