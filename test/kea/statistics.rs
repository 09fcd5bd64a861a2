// SPDX-License-Identifier: MPL-2.0
//! The hook's numbers among Kea's statistics: each is moved by what it is for, and by nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::{FOO_BAR, in_both_modes, port};
use remote_opts_test_support::certificates::Authority;
use remote_opts_test_support::kea::{self, HOOK_LOGGER, Kea, Setup};
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::{PATIENCE, wait_until, wait_until_within};

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

/// The present values of all statistics of the hook.
fn all(kea: &Kea) -> BTreeMap<String, i64> {
    let all = kea.command("statistic-get-all").expect("an answer to statistic-get-all");
    let all = all["arguments"].as_object().expect("statistics").iter();
    let ours = all.filter(|(name, _)| name.starts_with("remote-opts-"));
    ours.map(|(name, samples)| (name.clone(), samples[0][0].as_i64().expect("a number"))).collect()
}

/// By how much each statistic has moved, of those that have. What depends on the time that things
/// take on this machine is left out, and so are sizes.
fn moved(before: &BTreeMap<String, i64>, kea: &Kea) -> BTreeMap<String, i64> {
    let left_out = ["lookup-time-", "last-answer", "kept-bytes", "-most", "kept-answers"];
    let is_counted = |name: &str| !left_out.iter().any(|part| name.contains(part));
    let after = all(kea);
    let moved = after
        .iter()
        .filter(|(name, _)| is_counted(name))
        .map(|(name, value)| (name.clone(), value - before.get(name).copied().unwrap_or(0)));
    moved.filter(|(_, by)| *by != 0).collect()
}

/// Does something, and checks which statistics have moved by then, and by how much.
#[track_caller]
fn assert_moves(kea: &Kea, action: impl FnOnce(), expected: &[(&str, i64)]) {
    let before = all(kea);
    action();
    let expected: BTreeMap<String, i64> =
        expected.iter().map(|(name, by)| (format!("remote-opts-{name}"), *by)).collect();
    let mut last = BTreeMap::new();
    // A lookup's end is counted just before its packet goes on, and a client's reply may be first.
    wait_until_within(PATIENCE, || {
        last = moved(&before, kea);
        last == expected
    });
    assert_eq!(last, expected);
}

const REQUEST: (&str, i64) = ("url[0].requests", 1);
const FAILURE: (&str, i64) = ("url[0].failures", 1);

#[test]
fn an_exchange_moves_what_it_is_counted_by() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring", "66": "tftp1", "53": 1}));
        let parameters = json!({"url": service.url("/"), "user-class": "test", "timeout": 60_000});
        let kea = Setup::new(threads).hook(parameters).start();
        let client = || kea.client().with(77, "test").with(82, FOO_BAR);
        let before = all(&kea);
        let (asked, cached) = (("asked", 1), ("cached", 1));
        let edits = [("edits-applied", 4), ("edits-refused", 2)];
        assert_moves(
            &kea,
            || drop(client().exchange()),
            &[asked, cached, edits[0], edits[1], REQUEST],
        );
        let after = all(&kea);
        for (name, value) in [("lookup-time-count", 1), ("in-flight-most", 1), ("kept-answers", 1)]
        {
            assert_eq!(after[&format!("remote-opts-{name}")], value, "{name}");
        }
        assert_eq!(after["remote-opts-parked-most"], i64::from(kea::parks()));
        assert!(after["remote-opts-kept-bytes"] > 0);
        assert_eq!(before["remote-opts-url[0].last-answer"], 0);
        assert!(after["remote-opts-url[0].last-answer"] > 1_700_000_000);
        assert_eq!(after["remote-opts-url[0].state"], 1);

        let other = kea.client().with(77, "other").with(82, FOO_BAR);
        assert_moves(&kea, || drop(other.discover()), &[("not-admitted", 1)]);
        let nameless = kea.client().with(77, "test");
        assert_moves(&kea, || drop(nameless.discover()), &[("not-named", 1)]);

        service.answer(Answer::status(404, ""));
        let unknown = kea.client().with(77, "test").with(82, port(1));
        assert_moves(&kea, || drop(unknown.discover()), &[asked, ("nothing", 1), REQUEST]);
        assert_moves(&kea, || drop(unknown.discover()), &[cached, ("nothing", 1)]);

        service.answer(Answer::json(json!({"drop": true})));
        let unwanted = kea.client().with(77, "test").with(82, port(2));
        assert_moves(
            &kea,
            || {
                unwanted.send_discover();
            },
            &[asked, ("dropped-by-service", 1), REQUEST],
        );
    });
}

#[test]
fn lookups_are_counted_by_their_time() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        service.hold();
        let parameters = json!({"url": service.url("/"), "timeout": 60_000});
        let kea = Setup::new(threads).hook(parameters).start();
        let client = kea.client().with(82, FOO_BAR);
        let sent = client.send_discover();
        service.wait_until_asked(1);
        // Longer than one bucket, whatever the machine does.
        wait_until("a long lookup", || sent.elapsed().as_millis() > 60);
        service.release();
        client.reply("DISCOVER");
        let all = all(&kea);
        let number = |name: &str| all[&format!("remote-opts-lookup-time-{name}")];
        assert_eq!(number("count"), 1);
        assert!(number("us") > 50_000, "{}", number("us"));
        assert_eq!((number("le-10ms"), number("le-50ms")), (0, 0));
        let [le_100, le_500, le_1000] = ["le-100ms", "le-500ms", "le-1000ms"].map(number);
        assert!(le_100 <= le_500 && le_500 <= le_1000 && le_1000 <= 1);
        let in_time = |most: i64| i64::from(number("us") <= most * 1000);
        assert_eq!([le_100, le_500, le_1000], [100, 500, 1000].map(in_time));
    });
}

#[test]
fn failures_are_counted_by_kind() {
    in_both_modes(|threads| {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (trusted, other) = (Authority::new("trusted"), Authority::new("other"));
        let anchor = folder.path().join("ca.pem");
        fs::write(&anchor, trusted.certificate_pem()).unwrap();
        let strict = Service::tls(
            &trusted.server("127.0.0.1"),
            Some(&other),
            Answer::json(json!({"224": "x"})),
        );
        let untrusted = Service::tls(&other.server("127.0.0.1"), None, Answer::json(json!({})));
        let silent = Service::echo();
        silent.hold();
        let failing = Service::answering(Answer::status(500, ""));
        let garbage = Service::answering(Answer::text("no JSON"));
        for (kind, url, timeout) in [
            ("connect", format!("http://{closed}/"), 60_000),
            ("tls", untrusted.url("/"), 60_000),
            // Since TLS 1.3 a service refuses the client's certificate after the handshake.
            ("tls", strict.url("/"), 60_000),
            ("dns", "http://no-such-name.invalid/".to_owned(), 60_000),
            ("late", silent.url("/"), 50),
            ("status", failing.url("/"), 60_000),
            ("body", garbage.url("/"), 60_000),
        ] {
            let mut parameters = json!({"url": url, "timeout": timeout});
            if kind == "tls" {
                parameters["trust-anchor"] = Value::from(anchor.to_str().unwrap());
            }
            let kea = Setup::new(threads).hook(parameters).start();
            let failures = format!("failures-{kind}");
            let client = kea.client().with(82, FOO_BAR);
            assert_moves(
                &kea,
                || drop(client.discover()),
                &[(&failures, 1), ("failed", 1), ("back-offs", 1), REQUEST, FAILURE],
            );
        }
    });
}

#[test]
fn requests_that_are_not_made_are_counted_by_their_reason() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(500, ""));
        let parameters = json!({"url": service.url("/"), "on-error": "drop"});
        let kea = Setup::new(threads).hook(parameters).start();
        let clients: Vec<_> = (0..4).map(|number| kea.client().with(82, port(number))).collect();
        let (failed, dropped) = (("failed", 1), ("dropped", 1));
        assert_moves(
            &kea,
            || {
                clients[0].send_discover();
            },
            &[("failures-status", 1), failed, dropped, ("back-offs", 1), REQUEST, FAILURE],
        );
        assert_moves(
            &kea,
            || {
                clients[0].send_discover();
            },
            &[("failures-backing-off", 1), failed, dropped],
        );
        for client in &clients[1..3] {
            client.send_discover();
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);
        wait_until("the state", || all(&kea)["remote-opts-url[0].state"] == 0);
        let no_service_up = || all(&kea)["remote-opts-failures-no-service-up"];
        let before = no_service_up();
        clients[3].send_discover();
        wait_until("a lookup without a service", || no_service_up() == before + 1);
        service.answer(Answer::json(json!({})));
        wait_until("the state", || all(&kea)["remote-opts-url[0].state"] == 1);
        assert_eq!(all(&kea)["remote-opts-back-offs"], 0);
        // A service that wants to be left alone.
        service.answer(Answer::status(503, "").header("Retry-After", "60"));
        kea.client().with(82, port(9)).send_discover();
        kea.logged(&["REMOPTS_SERVICE_PAUSED"]);
        assert_eq!(all(&kea)["remote-opts-url[0].state"], 2);
    });
}

#[test]
fn what_waits_is_counted_and_falls_back_to_0() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        service.hold();
        // A Kea that cannot park leaves its packets, so that its threads are free.
        let on_miss = if kea::parks() { "wait" } else { "retry" };
        let parameters = json!({
            "url": service.url("/"), "timeout": 60_000, "max-in-flight": 1, "on-miss": on_miss,
        });
        let kea = Setup::new(threads).debug(HOOK_LOGGER).hook(parameters).start();
        let (first, twin) = (kea.client().with(82, port(1)), kea.client().with(82, port(1)));
        let second = kea.client().with(82, port(2));
        first.send_discover();
        service.wait_until_asked(1);
        twin.send_discover();
        second.send_discover();
        let numbers = || {
            let all = all(&kea);
            ["in-flight", "in-line", "parked", "coalesced"]
                .map(|name| all[&format!("remote-opts-{name}")])
        };
        let parked = if kea::parks() { 3 } else { 0 };
        wait_until("the gauges", || numbers() == [1, 1, parked, 1]);
        assert_eq!(all(&kea)["remote-opts-parked-most"], parked);
        service.release();
        wait_until("the gauges", || numbers() == [0, 0, 0, 1]);
        // The second lookup was the only one in flight, too.
        assert_eq!(all(&kea)["remote-opts-in-flight-most"], 1);
        assert_eq!(all(&kea)["remote-opts-kept-answers"], 2);
        kea.command("remote-opts-cache-clear").unwrap();
        let kept = all(&kea);
        assert_eq!((kept["remote-opts-kept-answers"], kept["remote-opts-kept-bytes"]), (0, 0));
    });
}

#[test]
fn numbers_survive_a_reload_and_can_be_reset() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let parameters = json!({"url": service.url("/")});
        let kea = Setup::new(threads).hook(parameters).start();
        kea.client().with(82, FOO_BAR).exchange();
        let counted =
            |names: [&str; 3]| names.map(|name| all(&kea)[&format!("remote-opts-{name}")]);
        let names = ["asked", "cached", "url[0].requests"];
        // Nobody has read the numbers before the reload.
        kea.reload().unwrap();
        assert_eq!(counted(names), [1, 1, 1]);
        assert_eq!(all(&kea)["remote-opts-parked"], 0);
        kea.client().with(82, FOO_BAR).exchange();
        let name = json!({"name": "remote-opts-cached"});
        kea.command_with("statistic-reset", name).unwrap();
        assert_eq!(counted(names), [1, 0, 1]);
        kea.command("statistic-reset-all").unwrap();
        assert_eq!(counted(names), [0, 0, 0]);
        assert_eq!(all(&kea)["remote-opts-in-flight-most"], 0);
        kea.client().with(82, port(1)).exchange();
        assert_eq!(counted(names), [1, 1, 1]);
        // Another service at this place begins at 0; Kea forgets services that are gone.
        let other = Service::json(json!({"224": "somestring"}));
        let mut configuration = kea.configuration();
        let of_hook = &mut configuration["Dhcp4"]["hooks-libraries"][0]["parameters"];
        of_hook["url"] = json!([other.url("/"), service.url("/")]);
        kea.set_configuration(configuration.clone()).unwrap();
        assert_eq!(counted(["asked", "url[0].requests", "url[1].requests"]), [1, 0, 0]);
        configuration["Dhcp4"]["hooks-libraries"][0]["parameters"]["url"] = json!(other.url("/"));
        kea.set_configuration(configuration).unwrap();
        assert!(!all(&kea).contains_key("remote-opts-url[1].requests"));
        let error = kea.command("statistic-get").unwrap();
        assert_eq!(error["result"], 1, "Kea's own error: {error}");
        assert!(error["text"].as_str().unwrap().contains("name"), "{error}");
        // Without the library, its numbers stay, and nobody says how its services are.
        kea.client().with(82, port(7)).exchange();
        let mut configuration = kea.configuration();
        configuration["Dhcp4"]["hooks-libraries"] = json!([]);
        let before = counted(["asked", "in-flight-most", "url[0].requests"]);
        kea.set_configuration(configuration).unwrap();
        let after = all(&kea);
        assert_eq!(after["remote-opts-asked"], before[0]);
        assert_eq!(after["remote-opts-url[0].requests"], before[2]);
        assert_eq!(after["remote-opts-kept-answers"], 0);
        assert!(!after.contains_key("remote-opts-url[0].state"), "{after:?}");
    });
}
