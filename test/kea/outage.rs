// SPDX-License-Identifier: MPL-2.0
//! What machines get while their service is slow, wrong or down: they keep what they had.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{FOO_BAR, about, in_both_modes, port};
use remote_opts_test_support::dhcp::{Client, Reply};
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::wait_until;

/// A server that asks this service. Answers are not fresh for any time.
fn setup(threads: Threads, service: &Service, parameters: Value) -> Setup {
    let mut all = json!({"url": service.url("/"), "cache-ttl": 0});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    Setup::new(threads).hook(all)
}

/// The answer about a port, but `bad` for the port of this number.
fn all_but(number: u32, bad: Answer) -> Service {
    let target = about(number);
    Service::scripted(
        move |request| {
            if request.target == target { bad.clone() } else { echo(request) }
        },
    )
}

#[track_caller]
fn assert_served(kea: &Kea, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let offer = kea.client().with(82, port(number)).discover();
        assert_eq!(offer.chain(), Some(about(number)));
    }
}

#[test]
fn one_record_that_fails_costs_its_own_client_alone() {
    in_both_modes(|threads| {
        let late = Answer::json(json!({})).after(Duration::from_secs(60));
        for bad in [Answer::status(500, ""), Answer::HangUp, late] {
            let service = all_but(1, bad);
            let kea = setup(threads, &service, json!({"timeout": 2000})).start();
            for number in 10..14 {
                assert_eq!(kea.client().with(82, port(1)).discover().chain(), None);
                assert_served(&kea, number..number + 1);
            }
            assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 0);
            // A request that failed backs off.
            let bad = service.requests().iter().filter(|one| one.target == about(1)).count();
            assert!(bad <= 2 * 3, "{bad} requests");
        }
    });
}

#[test]
fn a_service_that_responds_is_not_given_up_whatever_it_says() {
    in_both_modes(|threads| {
        let deep = format!("{{\"224\": {}1{}}}", "[".repeat(40), "]".repeat(40));
        let bad = [403, 422, 302].map(|status| Answer::status(status, "")).into_iter();
        let bodies = ["no JSON".to_owned(), "7".to_owned(), "x".repeat(0x10001), deep];
        for bad in bad.chain(bodies.map(Answer::text)) {
            let service = Service::answering(bad);
            let kea = setup(threads, &service, json!({})).start();
            for number in 0..10 {
                assert_eq!(kea.client().with(82, port(number)).discover().chain(), None);
            }
            assert_eq!(service.asked(), 10);
            assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 0);
            service.answer(Answer::json(json!({"224": "somestring"})));
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.chain().as_deref(), Some("somestring"));
        }
    });
}

#[test]
fn an_answer_that_is_bad_for_its_client_brings_a_service_back() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(500, ""));
        let kea = setup(threads, &service, json!({})).start();
        for number in 0..3 {
            kea.client().with(82, port(number)).discover();
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);
        service.answer(Answer::status(403, ""));
        kea.logged(&["REMOPTS_SERVICE_UP"]);
    });
}

/// The requests that clients want while a service is down may all be bad.
#[test]
fn the_last_request_that_succeeded_brings_a_service_back() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        assert_served(&kea, 50..51);
        service.answer(Answer::status(500, ""));
        for number in 0..3 {
            kea.client().with(82, port(number)).discover();
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);
        let good = about(50);
        service.script(move |request| match request.target == good {
            true => echo(request),
            false => Answer::status(500, ""),
        });
        kea.logged(&["REMOPTS_SERVICE_UP"]);
    });
}

#[test]
fn a_service_is_left_alone_for_as_long_as_it_says() {
    const PAUSE: Duration = Duration::from_secs(2);
    in_both_modes(|threads| {
        for status in [429, 503] {
            let service = Service::answering(Answer::status(status, "").header("Retry-After", "2"));
            let kea = setup(threads, &service, json!({})).start();
            let start = Instant::now();
            kea.client().with(82, port(0)).discover();
            let line = kea.logged(&["REMOPTS_SERVICE_PAUSED", "2 seconds"]);
            assert!(line.starts_with("WARN"), "{line}");
            service.script(echo);
            let mut number = 1;
            wait_until("the end of the pause", || {
                number += 1;
                kea.client().with(82, port(number)).discover().chain().is_some()
            });
            assert!(start.elapsed() >= PAUSE, "asked after {:?}", start.elapsed());
            assert_eq!(service.asked(), 2);
        }
    });
}

/// Renews a lease through a relay agent.
fn renew(client: &Client, ack: &Reply) -> Option<Reply> {
    client.send_renewal(ack);
    client.reply_within(Duration::from_secs(5))
}

#[test]
fn a_client_keeps_its_last_answer_through_an_outage_and_a_reload() {
    in_both_modes(|threads| {
        let mut service = Service::echo();
        let kea = setup(threads, &service, json!({"on-error": "drop"})).start();
        let client = kea.client().with(82, port(1));
        let [_, ack] = client.exchange();
        service.stop();
        for _ in 0..3 {
            let renewed = renew(&client, &ack).expect("an ACK");
            assert_eq!((renewed.kind(), renewed.chain()), (MessageType::Ack, Some(about(1))));
            assert_eq!(client.discover().chain(), Some(about(1)));
            kea.reload().unwrap();
        }
    });
}

/// Answers of other services do not count as fresh, but they are better than none.
#[test]
fn answers_of_a_service_that_was_replaced_serve_until_there_are_new_ones() {
    in_both_modes(|threads| {
        let [old, new] = ["old", "new"].map(|name| Service::json(json!({"224": name})));
        let parameters = json!({"cache-ttl": 600});
        let kea = setup(threads, &old, parameters).start();
        let client = kea.client().with(82, FOO_BAR);
        assert_eq!(client.discover().chain().as_deref(), Some("old"));
        new.answer(Answer::status(500, ""));
        let mut configuration = kea.configuration();
        configuration["Dhcp4"]["hooks-libraries"][0]["parameters"]["url"] = new.url("/").into();
        kea.set_configuration(configuration).unwrap();
        assert_eq!(client.discover().chain().as_deref(), Some("old"));
        new.answer(Answer::json(json!({"224": "new"})));
        wait_until("the new service's answer", || {
            client.discover().chain().as_deref() == Some("new")
        });
    });
}

#[test]
fn a_renewal_is_answered_whatever_on_error_says() {
    in_both_modes(|threads| {
        let service = Service::answering(
            Answer::json(json!({"224": "somestring"})).cache_control("no-store"),
        );
        let setup = setup(threads, &service, json!({"on-error": "drop"}));
        let kea = setup.debug(HOOK_LOGGER).start();
        let client = kea.client().with(82, FOO_BAR);
        let [_, ack] = client.exchange();
        service.answer(Answer::status(500, ""));
        let renewed = renew(&client, &ack).expect("an ACK");
        // The service forbids to keep its answers.
        assert_eq!((renewed.kind(), renewed.chain()), (MessageType::Ack, None));
        let new = kea.client().with(82, FOO_BAR);
        new.send_discover();
        kea.logged(&["REMOPTS_DROPPED", &new.hwaddr()]);
    });
}

/// A pool that is for clients of one class alone: a client without the class is refused.
#[test]
fn no_client_is_refused_because_its_lookup_failed() {
    in_both_modes(|threads| {
        let good = Answer::json(json!({"client-classes": ["rack"]})).cache_control("no-store");
        let service = Service::answering(good.clone());
        let kea = setup(threads, &service, json!({}))
            .set("client-classes", json!([{"name": "rack"}]))
            .add_pool("10.77.0.16-10.77.0.255", "rack")
            .start();
        let client = kea.client().with(82, FOO_BAR);
        let [_, ack] = client.exchange();
        assert_eq!(ack.address().octets()[2], 0, "an address of the rack");
        service.answer(Answer::status(500, ""));
        assert!(renew(&client, &ack).is_none(), "a reply to a renewal that nobody can judge");
        let line = kea.logged(&["REMOPTS_NAK_HELD_BACK", &client.hwaddr()]);
        assert!(line.starts_with("WARN"), "{line}");
        assert_eq!(kea.statistic("remote-opts-naks-held-back"), Some(1));
        // The service says that the client is not of the class: now the refusal is right.
        service.answer(Answer::status(404, "").cache_control("no-store"));
        let mut refusal = None;
        wait_until("the end of the back-off", || {
            refusal = renew(&client, &ack);
            refusal.is_some()
        });
        assert_eq!(refusal.unwrap().kind(), MessageType::Nak);
        service.answer(good);
        let renewed = renew(&client, &ack).expect("an ACK");
        assert_eq!(renewed.kind(), MessageType::Ack);
    });
}

#[test]
fn with_on_miss_retry_no_packet_waits_and_the_next_one_finds_the_answer() {
    in_both_modes(|threads| {
        let service = Service::echo();
        service.hold();
        let parameters = json!({"on-miss": "retry", "timeout": 60_000});
        let kea = setup(threads, &service, parameters).debug(HOOK_LOGGER).start();
        let clients: Vec<_> = (0..20).map(|number| kea.client().with(82, port(number))).collect();
        for client in &clients {
            client.send_discover();
            kea.logged(&["REMOPTS_DROPPED", &client.hwaddr()]);
        }
        // A REQUEST is answered from what is known, here nothing.
        let other = kea.client();
        let [_, ack] = other.exchange();
        let renewed = renew(&other.twin().with(82, port(99)), &ack).expect("an ACK");
        assert_eq!((renewed.kind(), renewed.chain()), (MessageType::Ack, None));
        service.release();
        service.wait_until_asked(21);
        for (number, client) in (0..).zip(&clients) {
            let mut offer = None;
            wait_until("the answer", || {
                client.send_discover_again();
                offer = client.reply_within(Duration::from_millis(300));
                offer.is_some()
            });
            let offer = offer.unwrap();
            assert_eq!(offer.chain(), Some(about(number)));
            assert_eq!(client.request(&offer).chain(), Some(about(number)));
        }
        assert_eq!(service.asked(), 21, "one request for each client");
        assert!(kea.stop().status.success());
    });
}

/// A client's pauses are as long as the back-offs of its request: each packet finds that the lookup
/// of the one before has failed.
#[test]
fn with_on_miss_retry_a_client_whose_lookups_fail_is_answered_by_its_second_packet() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let parameters = json!({"on-miss": "retry"});
        let kea = setup(threads, &service, parameters).debug(HOOK_LOGGER).start();
        let [known, new] = [1, 2].map(|number| kea.client().with(82, port(number)));
        let twice = |client: &Client| {
            client.send_discover();
            kea.logged(&["REMOPTS_DROPPED", &client.tid()]);
            let mut offer = None;
            wait_until("the answer", || {
                client.send_discover_again();
                offer = client.reply_within(Duration::from_millis(300));
                offer.is_some()
            });
            offer.unwrap()
        };
        assert_eq!(twice(&known).chain(), Some(about(1)));
        service.answer(Answer::status(500, ""));
        for (client, chain) in [(&known, Some(about(1))), (&new, None)] {
            client.send_discover();
            kea.logged(&["REMOPTS_DROPPED", &client.tid()]);
            kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.tid()]);
            // The line comes before the lookup's end.
            wait_until("the end of the lookup", || {
                let status = kea.command("remote-opts-status").expect("a response");
                status["arguments"]["in-flight"] == 0
            });
            assert_eq!(client.discover_again().chain(), chain);
        }
    });
}

/// A server whose answers survive in this file.
fn with_file(threads: Threads, service: &Service, file: &Path) -> Setup {
    setup(threads, service, json!({"cache-file": file}))
}

#[test]
fn kept_answers_survive_a_restart() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("answers");
        let mut service = Service::echo();
        let kea = with_file(threads, &service, &file).start();
        for number in 0..20 {
            assert_eq!(kea.client().with(82, port(number)).discover().chain(), Some(about(number)));
        }
        kea.stop().assert_clean();
        let mode = fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "for Kea's user alone");

        service.stop();
        let kea = with_file(threads, &service, &file).start();
        kea.logged(&["REMOPTS_CACHE_FILE_READ", "20 kept answers"]);
        for number in 0..20 {
            assert_eq!(kea.client().with(82, port(number)).discover().chain(), Some(about(number)));
        }
        assert!(kea.stop().status.success());
    });
}

#[test]
fn a_file_that_cannot_be_read_is_set_aside_and_never_stops_kea() {
    in_both_modes(|threads| {
        for text in ["", "garbage", "{\"remote-opts-cache\": 99, \"written\": 0}\n"] {
            let folder = TempDir::new().expect("a folder");
            let file = folder.path().join("answers");
            fs::write(&file, text).expect("a file");
            let service = Service::echo();
            let kea = with_file(threads, &service, &file).start();
            let line = kea.logged(&["REMOPTS_CACHE_FILE_UNREADABLE", "answers"]);
            assert!(line.starts_with("WARN"), "{line}");
            assert_served(&kea, 0..3);
            assert!(kea.stop().status.success());
            let aside = fs::read_to_string(folder.path().join("answers.unreadable"));
            assert_eq!(aside.expect("the file, set aside"), text);
            assert!(file.exists(), "no new file");
        }
    });
}

/// `kea-dhcp4 -T` loads and unloads the library, beside a Kea that serves.
#[test]
fn a_check_of_the_configuration_leaves_the_file_alone() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("answers");
        let service = Service::echo();
        let setup = with_file(threads, &service, &file);
        setup.check().assert_clean();
        assert!(!file.exists(), "a file without answers");
        fs::write(&file, "garbage").expect("a file");
        setup.check().assert_clean();
        assert_eq!(fs::read_to_string(&file).expect("the file, where it was"), "garbage");
    });
}

/// Answers of other services do not count as fresh, also where a restart brings them.
#[test]
fn a_file_of_another_service_s_answers_serves_until_there_are_new_ones() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("answers");
        let [old, new] = ["old", "new"].map(|name| Service::json(json!({"224": name})));
        let setup_of = |service: &Service| {
            setup(threads, service, json!({"cache-file": file, "cache-ttl": 600}))
        };
        let kea = setup_of(&old).start();
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("old"));
        kea.stop().assert_clean();
        let kea = setup_of(&new).start();
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("new"));
        kea.stop().assert_clean();
        let mut gone = new;
        gone.stop();
        let kea = setup_of(&gone).start();
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("new"));
        assert!(kea.stop().status.success());
    });
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_in_the_log_alone() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("missing").join("answers");
        let service = Service::echo();
        let kea = with_file(threads, &service, &file).start();
        assert_served(&kea, 0..3);
        let end = kea.stop();
        assert!(end.status.success());
        let said = |line: &String| line.contains("REMOPTS_CACHE_FILE_NOT_WRITTEN");
        assert!(end.log.iter().any(said), "{:#?}", end.log);
    });
}
