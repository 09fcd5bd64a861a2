// SPDX-License-Identifier: MPL-2.0
//! The hook's counters among Kea's statistics: each packet that is looked up counts once.

use serde_json::json;

use crate::{FOO_BAR, in_both_modes, port};
use remote_opts_test_support::kea::{Kea, Setup};
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::wait_until;

const NAMES: [&str; 6] = ["cached", "asked", "stale", "failed", "turned-away", "dropped"];

/// The present counts, in the order of [`NAMES`].
fn counters(kea: &Kea) -> [Option<i64>; 6] {
    NAMES.map(|name| kea.statistic(&format!("remote-opts-{name}")))
}

#[test]
fn every_counter_is_there_after_the_load() {
    in_both_modes(|threads| {
        let service = Service::json(json!({}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
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
        let service = Service::json(json!({"224": "somestring"}));
        let parameters = json!({"url": service.url("/"), "user-class": "test"});
        let kea = Setup::new(threads).hook(parameters).start();
        let client = || kea.client().with(77, "test").with(82, FOO_BAR);
        let assert_counted = |counts: [i64; 6]| assert_eq!(counters(&kea), counts.map(Some));

        client().exchange();
        assert_counted([1, 1, 0, 0, 0, 0]);
        client().exchange();
        client().inform();
        assert_counted([4, 1, 0, 0, 0, 0]);
        // The filter refuses the first client; nothing names the second.
        kea.client().with(77, "other").with(82, FOO_BAR).exchange();
        kea.client().with(77, "test").exchange();
        assert_counted([4, 1, 0, 0, 0, 0]);

        // "Nothing for this client" counts as an answer.
        service.answer(Answer::status(404, "").cache_control("max-age=0"));
        kea.client().with(77, "test").with(82, port(1)).discover();
        assert_counted([4, 2, 0, 0, 0, 0]);
        service.answer(Answer::status(500, ""));
        for number in 2..7 {
            // For the last two there is no request: the service is down.
            kea.client().with(77, "test").with(82, port(number)).discover();
        }
        assert_counted([4, 2, 0, 5, 0, 0]);
    });
}

#[test]
fn stale_answers_and_dropped_packets_are_counted() {
    in_both_modes(|threads| {
        let service = Service::answering(
            Answer::json(json!({"224": "somestring"})).cache_control("max-age=0"),
        );
        let parameters =
            json!({"url": service.url("/"), "stale-if-error": 600, "on-error": "drop"});
        let kea = Setup::new(threads).hook(parameters).start();
        kea.client().with(82, FOO_BAR).discover();
        assert_eq!(counters(&kea), [0, 1, 0, 0, 0, 0].map(Some));
        service.answer(Answer::status(500, ""));
        kea.client().with(82, FOO_BAR).discover();
        assert_eq!(counters(&kea), [0, 1, 1, 0, 0, 0].map(Some));
        let dropped = kea.client().with(82, port(1));
        dropped.send_discover();
        wait_until("a failed lookup and a dropped packet", || {
            counters(&kea) == [0, 1, 1, 1, 0, 1].map(Some)
        });
        assert!(!dropped.has_reply());
    });
}
