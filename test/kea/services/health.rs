// SPDX-License-Identifier: MPL-2.0
//! A service that fails again and again goes down: lookups no longer ask it. Probes find out when
//! it is up again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::HOOK_LOGGER;
use remote_opts_test_support::service::{Answer, Service};

use super::{answer, failure, named, offer, setup};
use crate::{FOO_BAR, about, in_both_modes, median, names, port};

/// The most requests that a service can have got since `start` when it goes down after `failures`
/// requests. Probes are included.
fn with_probes(failures: usize, start: Instant) -> usize {
    failures + start.elapsed().as_secs() as usize + 1
}

#[test]
fn after_three_failures_in_a_row_a_service_is_down() {
    in_both_modes(|threads| {
        let start = Instant::now();
        let first = Service::answering(failure());
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..50 {
            assert_eq!(offer(&kea, number).chain().as_deref(), Some("second"));
            if number == 2 {
                let line = kea.logged(&["REMOPTS_SERVICE_DOWN", &first.url("/")]);
                assert!(line.starts_with("WARN"), "{line}");
            }
        }
        assert_eq!(second.asked(), 50);
        assert!(first.asked() >= 3, "{} requests", first.asked());
        assert!(first.asked() <= with_probes(3, start), "{} requests", first.asked());
        assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 1);
        assert_eq!(kea.count("REMOPTS_SERVICE_UP"), 0);
    });
}

/// Whatever keeps the service from answering, three different requests give it up.
#[test]
fn each_kind_of_failure_of_a_service_counts() {
    in_both_modes(|threads| {
        let mut stopped = named("stopped");
        stopped.stop();
        let saying = Service::answering;
        // A service, its URL with which it fails, and a word of the reason.
        let cases = [
            (stopped, None, "refused"),
            (named("without TLS"), Some("https"), ""),
            (named("unknown"), Some("unknown.test"), "unknown.test"),
            (saying(Answer::Never), None, "no answer within"),
            (saying(Answer::HangUp), None, ""),
            (saying(failure()), None, "500"),
            (saying(Answer::status(503, "")), None, "503"),
            (saying(Answer::status(429, "")), None, "429"),
        ];
        for (service, change, reason) in cases {
            let url = match change {
                Some("https") => service.url("/").replace("http:", "https:"),
                Some(name) => names::by_name(&service, name),
                None => service.url("/"),
            };
            let kea = names::setup(threads, "unknown.test=fails")
                .hook(json!({"url": url, "timeout": 1500}))
                .start();
            for number in 0..2 {
                assert_eq!(offer(&kea, number).chain(), None, "{url}");
            }
            assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 0, "{url}");
            assert_eq!(offer(&kea, 2).chain(), None, "{url}");
            kea.logged(&["REMOPTS_SERVICE_DOWN", &url, reason]);
        }
    });
}

/// A service that answers every third request, say, and fails at the rest.
fn answers_one_of(every: usize) -> Service {
    let asked = AtomicUsize::new(0);
    Service::scripted(move |_| match (asked.fetch_add(1, Ordering::SeqCst) + 1) % every {
        0 => answer("first"),
        _ => failure(),
    })
}

#[test]
fn fewer_failures_in_a_row_do_not_count() {
    in_both_modes(|threads| {
        // Two failures, a success, two failures, …
        let first = answers_one_of(3);
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..30 {
            let expected = if (number + 1) % 3 == 0 { "first" } else { "second" };
            assert_eq!(offer(&kea, number).chain().as_deref(), Some(expected));
        }
        assert_eq!((first.asked(), second.asked()), (30, 20));
        assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 0);
        // There are twenty failures in well under ten seconds.
        assert_eq!(
            kea.count("REMOPTS_LOOKUP_FAILED"),
            10,
            "the lines of one service in ten seconds"
        );
    });
}

/// When a service that answers again must be up: the contract says two seconds; a busy machine gets
/// more.
const UP_WITHIN: Duration = Duration::from_secs(4);

/// A service that is down gets one probe a second: the requests at which it failed, in turn. The
/// first success brings the service up.
#[test]
fn a_service_that_is_down_is_probed_once_a_second_until_it_is_up() {
    in_both_modes(|threads| {
        let mut first = Service::answering(failure());
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..3 {
            offer(&kea, number);
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN", &first.url("/")]);
        first.wait_until_asked(6);
        let requests = first.requests();
        for (number, probe) in (1..).zip(&requests[3..6]) {
            // A probe never comes early. On a busy machine it comes up to a second and a half late.
            let (after, due) = (probe.arrived - requests[2].arrived, Duration::from_secs(number));
            assert!(after >= due, "probe {number} after {after:?}");
            assert!(after < due + Duration::from_millis(1500), "probe {number} after {after:?}");
        }
        let probed: Vec<_> = requests[3..6].iter().map(|probe| &probe.target).collect();
        assert_eq!(probed, [&about(2), &about(1), &about(0)], "the latest failure comes first");
        assert_eq!(second.asked(), 3, "probes go to the service that is down");

        // The service goes away, and comes back.
        first.stop();
        assert_eq!(offer(&kea, 3).chain().as_deref(), Some("second"));
        first.answer(answer("first"));
        let start = Instant::now();
        first.start();
        let line = kea.logged(&["REMOPTS_SERVICE_UP", &first.url("/")]);
        assert!(line.starts_with("INFO"), "{line}");
        assert!(start.elapsed() < UP_WITHIN, "up after {:?}", start.elapsed());
        let asked = first.asked();
        for number in 4..10 {
            assert_eq!(offer(&kea, number).chain().as_deref(), Some("first"));
        }
        assert_eq!(first.asked(), asked + 6, "no more probes");
        assert_eq!(second.asked(), 4);
    });
}

/// With all services down, a lookup makes no request and does not wait.
#[test]
fn with_no_service_up_lookups_fail_at_once() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    in_both_modes(|threads| {
        let service = Service::answering(Answer::Never);
        let start = Instant::now();
        let parameters = json!({"timeout": TIMEOUT.as_millis()});
        let kea = setup(threads, &[&service], parameters).start();
        for number in 0..3 {
            assert_eq!(offer(&kea, number).chain(), None);
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN", &service.url("/")]);
        let latency = |client: Client| {
            let sent = client.send_discover();
            let offer = client.reply("DISCOVER");
            assert_eq!(offer.option(66).as_deref(), Some(&b"from the configuration"[..]));
            offer.arrived - sent
        };
        // Clients without a name are not looked up. They take turns with clients that are, so that
        // other work of the machine slows both in the same way.
        let latencies = (0..200).map(|number| {
            let named = kea.client().with(82, port(number));
            (latency(named), latency(kea.client()))
        });
        let (failing, nameless): (Vec<_>, Vec<_>) = latencies.unzip();
        let [failing, nameless] = [failing, nameless].map(median);
        println!("{threads:?}: {failing:?} a packet, {nameless:?} without a lookup");
        assert!(
            failing < nameless * 2 + Duration::from_millis(5),
            "{failing:?}, {nameless:?} without a lookup"
        );
        assert!(service.asked() <= with_probes(3, start), "{} requests", service.asked());

        let start = Instant::now();
        service.answer(answer("back"));
        kea.logged(&["REMOPTS_SERVICE_UP", &service.url("/")]);
        assert!(start.elapsed() < UP_WITHIN, "up after {:?}", start.elapsed());
        assert_eq!(offer(&kea, 1).chain().as_deref(), Some("back"));
    });
}

#[test]
fn a_lookup_with_no_service_up_is_logged_at_debug_alone() {
    in_both_modes(|threads| {
        let service = Service::answering(failure());
        let kea = setup(threads, &[&service], json!({})).debug(HOOK_LOGGER).start();
        for number in 0..3 {
            offer(&kea, number);
        }
        kea.logged(&["REMOPTS_SERVICE_DOWN"]);
        let client = kea.client().with(82, FOO_BAR);
        client.discover();
        let line = kea.logged(&["REMOPTS_NO_SERVICE_UP", &client.hwaddr(), "tid="]);
        assert!(line.starts_with("DEBUG"), "{line}");
        assert!(!kea.log().iter().any(|line| {
            line.contains("REMOPTS_LOOKUP_FAILED") && line.contains(&client.hwaddr())
        }));
    });
}
