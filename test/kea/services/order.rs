// SPDX-License-Identifier: MPL-2.0
//! Services are asked in the order of `url`, within one deadline.

use std::time::Duration;

use serde_json::json;

use remote_opts_test_support::kea::HOOK_LOGGER;
use remote_opts_test_support::service::{Answer, Service};

use super::{answer, failure, named, offer, setup};
use crate::{FOO_BAR, FOO_BAR_QUERY, in_both_modes};

#[test]
fn the_first_service_is_asked_while_it_answers() {
    in_both_modes(|threads| {
        let [first, second] = ["first", "second"].map(named);
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..10 {
            assert_eq!(offer(&kea, number).chain().as_deref(), Some("first"));
        }
        // "Nothing for this client" is an answer too.
        for (number, status) in [(10, 204), (11, 404)] {
            first.answer(Answer::status(status, ""));
            assert_eq!(offer(&kea, number).chain(), None);
        }
        assert_eq!((first.asked(), second.asked()), (12, 0));
        kea.stop().assert_clean();
    });
}

#[test]
fn the_next_service_is_asked_where_one_fails() {
    in_both_modes(|threads| {
        for failure in
            [failure(), Answer::text("no JSON"), Answer::redirect("/".into()), Answer::HangUp]
        {
            let first = Service::answering(failure);
            let mut second = named("second");
            let third = named("third");
            second.stop();
            let kea =
                setup(threads, &[&first, &second, &third], json!({})).debug(HOOK_LOGGER).start();
            let client = kea.client().with(82, FOO_BAR);
            assert_eq!(client.discover().chain().as_deref(), Some("third"));
            for service in [&first, &second, &third] {
                kea.logged(&["REMOPTS_LOOKUP ", &client.hwaddr(), &service.url("/")]);
            }
            assert!(first.asked() > 0);
            assert_eq!(third.targets(), [format!("/?{FOO_BAR_QUERY}")]);
            for service in [&first, &second] {
                let line =
                    kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), &service.url("/")]);
                assert!(line.starts_with("ERROR"), "{line}");
            }
        }
    });
}

#[test]
fn each_service_gets_an_equal_share_of_the_time_left() {
    in_both_modes(|threads| {
        let [first, second] = [Answer::Never, Answer::Never].map(Service::answering);
        let third = named("third");
        let kea = setup(threads, &[&first, &second, &third], json!({"timeout": 6000})).start();
        let client = kea.client().with(82, FOO_BAR);
        let sent = client.send_discover();
        let offer = client.reply("DISCOVER");
        assert_eq!(offer.chain().as_deref(), Some("third"));
        let arrived = [&first, &second, &third].map(|service| service.requests()[0].arrived);
        for share in [arrived[1] - arrived[0], arrived[2] - arrived[1]] {
            // Two seconds each, as far as a busy machine can show it.
            assert!(
                share >= Duration::from_millis(1300) && share < Duration::from_millis(2700),
                "{share:?}"
            );
        }
        assert!(offer.arrived - sent < Duration::from_millis(6000), "{:?}", offer.arrived - sent);
    });
}

/// The next service may use the time that one service does not need.
#[test]
fn one_deadline_is_for_all_services() {
    in_both_modes(|threads| {
        let first = Service::answering(failure());
        let second = Service::answering(answer("second").after(Duration::from_millis(2800)));
        let kea = setup(threads, &[&first, &second], json!({"timeout": 4000})).start();
        assert_eq!(offer(&kea, 1).chain().as_deref(), Some("second"));

        let [first, second] = [Answer::Never, Answer::Never].map(Service::answering);
        let kea = setup(threads, &[&first, &second], json!({"timeout": 4000})).start();
        let client = kea.client().with(82, FOO_BAR);
        let sent = client.send_discover();
        let spent = client.reply("DISCOVER").arrived - sent;
        assert!(spent >= Duration::from_millis(3990), "{spent:?}");
        assert!(spent < Duration::from_millis(5500), "{spent:?}");
        assert_eq!((first.asked(), second.asked()), (1, 1));
    });
}

#[test]
fn an_answer_is_kept_whichever_service_it_came_from() {
    in_both_modes(|threads| {
        let first = Service::answering(failure());
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({"cache-ttl": 600})).start();
        for _ in 0..3 {
            assert_eq!(offer(&kea, 1).chain().as_deref(), Some("second"));
        }
        assert_eq!((first.asked(), second.asked()), (1, 1));
    });
}
