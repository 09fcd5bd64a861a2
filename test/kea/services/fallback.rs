// SPDX-License-Identifier: MPL-2.0
//! What a client gets whose lookup failed: a stale answer (`stale-if-error`), or what `on-error`
//! says.

use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::json;

use remote_opts_test_support::kea::HOOK_LOGGER;
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::wait_until;

use super::{answer, assert_dropped, failure, setup};
use crate::{FOO_BAR, in_both_modes, port};

/// The first answer is stale at once. Then the service fails.
#[test]
fn a_stale_answer_serves_if_the_parameter_or_the_service_allows_it() {
    // `stale-if-error`, the service's Cache-Control, and whether the stale answer serves.
    let cases = [
        (0, "max-age=0", false),
        (600, "max-age=0", true),
        (600, "no-cache", true),
        (0, "max-age=0, stale-if-error=600", true),
        (600, "max-age=0, stale-if-error=0", false),
        (600, "max-age=0, must-revalidate", false),
        (600, "max-age=0, stale-if-error=600, must-revalidate", false),
        (600, "no-store", false),
        (600, "no-store, stale-if-error=600", false),
    ];
    in_both_modes(|threads| {
        for (parameter, cache_control, stale) in cases {
            let service = Service::answering(answer("old").cache_control(cache_control));
            let parameters = json!({"stale-if-error": parameter, "cache-ttl": 600});
            let kea = setup(threads, &[&service], parameters).debug(HOOK_LOGGER).start();
            kea.client().with(82, FOO_BAR).exchange();
            service.answer(failure());
            // First the service is asked, later it is down.
            for _ in 0..5 {
                let client = kea.client().with(82, FOO_BAR);
                let expected = stale.then_some("old");
                let case = format!("stale-if-error {parameter}, Cache-Control {cache_control}");
                for reply in client.exchange() {
                    assert_eq!(reply.chain().as_deref(), expected, "{case}");
                }
                if stale {
                    let line = kea.logged(&["REMOPTS_STALE", &client.hwaddr(), "tid="]);
                    assert!(line.starts_with("DEBUG"), "{line}");
                }
            }
        }
    });
}

#[test]
fn nothing_for_this_client_can_be_stale_too() {
    in_both_modes(|threads| {
        let service = Service::answering(Answer::status(404, "").cache_control("max-age=0"));
        let parameters = json!({"stale-if-error": 600, "on-error": "drop"});
        let kea = setup(threads, &[&service], parameters).start();
        kea.client().with(82, FOO_BAR).exchange();
        service.answer(failure());
        // The packet is not dropped.
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
        assert_eq!(kea.statistic("remote-opts-stale"), Some(1));
    });
}

#[test]
fn a_stale_answer_serves_no_longer_than_allowed() {
    in_both_modes(|threads| {
        const ALLOWED: Duration = Duration::from_secs(3);
        let service =
            Service::answering(answer("old").cache_control("max-age=0, stale-if-error=3"));
        let kea = setup(threads, &[&service], json!({})).start();
        let start = Instant::now();
        kea.client().with(82, FOO_BAR).exchange();
        let answered = Instant::now();
        service.answer(failure());
        let mut last_stale = start;
        wait_until("an OFFER without the stale answer", || {
            let client = kea.client().with(82, FOO_BAR);
            let sent = client.send_discover();
            match client.reply("DISCOVER").chain() {
                Some(_) => last_stale = sent,
                None => assert!(start.elapsed() > ALLOWED, "{:?}", start.elapsed()),
            }
            last_stale != sent
        });
        assert!(last_stale > start, "never stale");
        assert!(last_stale - answered < ALLOWED, "stale after {:?}", last_stale - answered);
    });
}

#[test]
fn a_failed_lookup_drops_the_packet_if_the_operator_says_so() {
    in_both_modes(|threads| {
        let service = Service::answering(failure());
        let parameters = json!({"on-error": "drop", "user-class": "test"});
        let kea = setup(threads, &[&service], parameters).debug(HOOK_LOGGER).start();
        let client = kea.client().with(82, FOO_BAR).with(77, "test");
        // One request that fails, for several packets and clients, is no bad service.
        let other = kea.client().with(82, FOO_BAR).with(77, "test");
        for client in [&client, &client, &other] {
            assert_dropped(&kea, client);
        }
        assert_eq!((service.asked(), kea.count("REMOPTS_SERVICE_DOWN")), (1, 0));
        for number in 1..3 {
            assert_dropped(&kea, &kea.client().with(82, port(number)).with(77, "test"));
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);

        // A client that is not looked up gets a reply.
        kea.client().with(82, FOO_BAR).with(77, "other").exchange();
        kea.client().with(77, "test").exchange();
        assert!(
            !client.has_reply() && !other.has_reply(),
            "a reply to a packet that was to be dropped"
        );
        assert_eq!(kea.statistic("remote-opts-dropped"), Some(5));

        // The client asks again, and is served.
        service.answer(answer("back"));
        kea.logged(&["REMOPTS_SERVICE_UP"]);
        assert_eq!(client.discover_again().chain().as_deref(), Some("back"));
        // "Nothing for this client" is no failure.
        service.answer(Answer::status(404, ""));
        let client = kea.client().with(82, port(3)).with(77, "test");
        assert_eq!(client.discover().kind(), MessageType::Offer);
        assert!(kea.stop().status.success());
        assert!(!other.has_reply(), "a reply to a packet that was to be dropped");
    });
}

#[test]
fn a_failed_lookup_of_a_request_drops_it_too() {
    in_both_modes(|threads| {
        let service = Service::answering(answer("first").cache_control("no-store"));
        let kea =
            setup(threads, &[&service], json!({"on-error": "drop"})).debug(HOOK_LOGGER).start();
        let client = kea.client().with(82, FOO_BAR);
        let [offer, _] = client.exchange();
        service.answer(failure());
        client.send_request(&offer);
        kea.logged(&["REMOPTS_DROPPED", &client.hwaddr()]);
        service.answer(answer("second"));
        // Until its back-off is over, the request is not made again.
        wait_until("the answer", || {
            client.send_request(&offer);
            client.has_reply()
        });
        assert_eq!(client.reply("REQUEST").chain().as_deref(), Some("second"));
    });
}
