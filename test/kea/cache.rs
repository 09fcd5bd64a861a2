// SPDX-License-Identifier: MPL-2.0
//! How long an answer is fresh, and for which clients. The tests count requests. Each query of a
//! client is in a transaction of its own, so that no exchange hides a request.

use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::{FOO_BAR, about, in_both_modes, port, size};
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::wait_until;

/// A server that asks this service, with these parameters and the `url`.
fn setup(threads: Threads, service: &Service, mut parameters: Value) -> Setup {
    parameters["url"] = service.url("/").into();
    Setup::new(threads).hook(parameters)
}

fn answer() -> Answer {
    Answer::json(json!({"224": "somestring"}))
}

/// How many requests Kea makes for three clients behind the same port that come one after the
/// other.
#[track_caller]
fn requests_of_three_clients(kea: &Kea, service: &Service) -> usize {
    let before = service.asked();
    for _ in 0..3 {
        assert_eq!(
            kea.client().with(82, FOO_BAR).discover().chain().as_deref(),
            Some("somestring")
        );
    }
    service.asked() - before
}

#[test]
fn an_answer_serves_every_client_behind_the_same_port() {
    in_both_modes(|threads| {
        let service = Service::answering(answer());
        let kea = setup(threads, &service, json!({})).debug(HOOK_LOGGER).start();
        assert_eq!(requests_of_three_clients(&kea, &service), 1);
        let client = kea.client().with(82, FOO_BAR);
        assert_eq!(client.inform().chain().as_deref(), Some("somestring"));
        let line = kea.logged(&["REMOPTS_CACHED", &client.hwaddr(), "tid=", &service.targets()[0]]);
        assert!(line.starts_with("DEBUG"), "{line}");
        assert_eq!(service.asked(), 1);
        kea.stop().assert_clean();
    });
}

#[test]
fn each_port_has_an_answer_of_its_own() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({})).start();
        for _ in 0..2 {
            for number in 0..5 {
                assert_eq!(
                    kea.client().with(82, port(number)).discover().chain(),
                    Some(about(number))
                );
            }
        }
        assert_eq!(service.asked(), 5);
        kea.stop().assert_clean();
    });
}

#[test]
fn the_service_s_word_wins_over_cache_ttl() {
    // `cache-ttl`, the service's Cache-Control, and whether the next client gets the same answer.
    let cases = [
        (0, None, false),
        (600, None, true),
        (600, Some("max-age=0"), false),
        (600, Some("no-store"), false),
        (600, Some("no-cache"), false),
        (600, Some("no-store, max-age=600"), false),
        (600, Some("max-age=600, no-store"), false),
        (0, Some("max-age=600"), true),
        (0, Some("Max-Age=600"), true),
        (0, Some("private, max-age=600, must-revalidate"), true),
        // These directives say nothing about freshness in a private cache (RFC 9111, section
        // 5.2.2).
        (600, Some("public, s-maxage=0, stale-if-error=5"), true),
        (0, Some("s-maxage=600"), false),
        (600, Some(""), true),
    ];
    in_both_modes(|threads| {
        for (ttl, cache_control, reused) in cases {
            let answer = match cache_control {
                Some(directives) => answer().cache_control(directives),
                None => answer(),
            };
            let service = Service::answering(answer);
            let kea = setup(threads, &service, json!({"cache-ttl": ttl})).start();
            let expected = if reused { 1 } else { 3 };
            let case = format!("cache-ttl {ttl}, Cache-Control {cache_control:?}");
            assert_eq!(requests_of_three_clients(&kea, &service), expected, "{case}");
            kea.stop().assert_clean();
        }
    });
}

#[test]
fn directives_may_come_in_several_headers() {
    in_both_modes(|threads| {
        let service =
            Service::answering(answer().cache_control("max-age=600").cache_control("no-store"));
        let kea = setup(threads, &service, json!({})).start();
        assert_eq!(requests_of_three_clients(&kea, &service), 3);
        kea.stop().assert_clean();
    });
}

/// Has clients ask until there is a second request. It must come when the first answer is no longer
/// fresh, and on a busy machine at most three seconds later.
#[track_caller]
fn assert_asked_again_after(kea: &Kea, service: &Service, fresh_for: Duration) {
    wait_until("a second request", || {
        kea.client().with(82, FOO_BAR).discover();
        service.asked() > 1
    });
    let requests = service.requests();
    let age = requests[1].arrived - requests[0].arrived;
    assert!(age >= fresh_for, "asked again after {age:?}");
    assert!(age < fresh_for + Duration::from_secs(3), "asked again after {age:?}");
}

#[test]
fn an_answer_of_one_second_is_asked_for_again_after_one_second() {
    in_both_modes(|threads| {
        let by_service = Service::answering(answer().cache_control("max-age=1"));
        let kea = setup(threads, &by_service, json!({"cache-ttl": 600})).start();
        assert_asked_again_after(&kea, &by_service, Duration::from_secs(1));

        let by_parameter = Service::answering(answer());
        let kea = setup(threads, &by_parameter, json!({"cache-ttl": 1})).start();
        assert_asked_again_after(&kea, &by_parameter, Duration::from_secs(1));
    });
}

#[test]
fn an_answer_is_fresh_for_ten_seconds_by_default() {
    in_both_modes(|threads| {
        let service = Service::answering(answer());
        let kea = setup(threads, &service, json!({})).start();
        assert_asked_again_after(&kea, &service, Duration::from_secs(10));
    });
}

#[test]
fn nothing_for_this_client_is_cached_like_an_answer() {
    in_both_modes(|threads| {
        for (status, cache_control, requests) in
            [(204, "max-age=600", 1), (404, "max-age=600", 1), (404, "no-store", 3)]
        {
            let service =
                Service::answering(Answer::status(status, "").cache_control(cache_control));
            let kea = setup(threads, &service, json!({"cache-ttl": 0})).start();
            for _ in 0..3 {
                assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
            }
            assert_eq!(service.asked(), requests, "{status}, {cache_control}");
            kea.stop().assert_clean();
        }
        let service = Service::answering(Answer::status(404, ""));
        let kea = setup(threads, &service, json!({})).start();
        for _ in 0..3 {
            kea.client().with(82, FOO_BAR).exchange();
        }
        assert_eq!(service.asked(), 1);
    });
}

/// A failure is no answer: it is kept for the time of its back-off alone, whatever Cache-Control
/// says.
#[test]
fn failures_are_kept_for_their_back_off_alone() {
    in_both_modes(|threads| {
        let failures =
            [Answer::status(500, ""), Answer::text("no JSON"), Answer::text("x".repeat(0x10001))];
        for failure in failures {
            let service = Service::answering(failure.cache_control("max-age=600"));
            let kea = setup(threads, &service, json!({"cache-ttl": 600})).start();
            assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
            service.answer(answer());
            let mut discovers = 0;
            wait_until("the answer", || {
                discovers += 1;
                kea.client().with(82, FOO_BAR).discover().chain().as_deref() == Some("somestring")
            });
            assert!(discovers > 1, "no back-off");
            assert_eq!(service.asked(), 2);
        }
    });
}

/// Has clients of these numbers send a DISCOVER each, one after the other.
fn discover_all(kea: &Kea, numbers: impl Iterator<Item = u32>) {
    for number in numbers {
        assert_eq!(kea.client().with(82, port(number)).discover().chain(), Some(about(number)));
    }
}

#[test]
fn the_oldest_answer_makes_room_for_a_new_one() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({"cache-ttl": 600, "cache-size": 3})).start();
        discover_all(&kea, (0..3).chain(0..3));
        assert_eq!(service.asked(), 3, "three fit in");
        discover_all(&kea, [3, 0].into_iter());
        assert_eq!(service.asked(), 5, "the first makes room for the fourth");
        kea.stop().assert_clean();
    });
}

/// Of 60 clients that ask twice, at most 20 find an answer in the cache.
#[test]
fn the_cache_never_holds_more_than_cache_size() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service, json!({"cache-ttl": 600, "cache-size": 20})).start();
        discover_all(&kea, 0..60);
        assert_eq!(service.asked(), 60);
        discover_all(&kea, 0..60);
        assert!(service.asked() >= 100, "{} requests", service.asked());
        kea.stop().assert_clean();
    });
}

#[test]
fn with_a_size_of_zero_nothing_is_cached() {
    in_both_modes(|threads| {
        let service = Service::answering(answer().cache_control("max-age=600"));
        let kea = setup(threads, &service, json!({"cache-ttl": 600, "cache-size": 0})).start();
        assert_eq!(requests_of_three_clients(&kea, &service), 3);
        // An exchange keeps its own answer all the same.
        kea.client().with(82, FOO_BAR).exchange();
        assert_eq!(service.asked(), 4);
        kea.stop().assert_clean();
    });
}

fn memory_kib(pid: u32) -> i64 {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().unwrap().parse().expect("a number")
}

/// The memory after the second half of the clients shows a leak of one answer, or of one exchange,
/// for each client. The environment variable REMOPTS_CLIENTS sets the number of clients; a full run
/// has 100000.
#[test]
fn many_different_clients_leave_memory_level() {
    const AT_ONCE: usize = 32;
    let half = size("REMOPTS_CLIENTS", 6000) / 2;
    in_both_modes(|threads| {
        // A leaked answer must be long enough to show.
        let padding = "x".repeat(1000);
        let service = Service::scripted(move |request| {
            Answer::json(json!({"224": request.target, "225": padding}))
                .cache_control("max-age=600")
        });
        let setup = setup(threads, &service, json!({"cache-size": 500, "timeout": 10_000}));
        let kea = setup.set("authoritative", json!(true)).start();
        let numbers = |range: Range<u32>| {
            for chunk in range.collect::<Vec<_>>().chunks(AT_ONCE) {
                let clients = chunk.iter().map(|number| kea.client().with(82, port(*number)));
                let clients = clients.collect::<Vec<_>>();
                for client in &clients {
                    client.send_discover();
                }
                for (client, number) in clients.iter().zip(chunk) {
                    assert_eq!(client.reply("DISCOVER").chain(), Some(about(*number)));
                    // Ends the exchange without a lease: Kea would need memory for a lease.
                    assert_eq!(
                        client.request_address([192, 0, 2, 1].into()).kind(),
                        MessageType::Nak
                    );
                }
            }
            memory_kib(kea.pid())
        };
        let start = Instant::now();
        let first = numbers(0..half);
        let second = numbers(half..half * 2);
        println!(
            "{threads:?}: {half} clients {first} KiB, again {second} KiB, {:?}",
            start.elapsed()
        );
        assert!(second - first < 1000, "{half} clients: {first} KiB, again {second} KiB");
        assert_eq!(service.asked() as u32, half * 2);
        kea.stop().assert_clean();
    });
}

#[test]
fn a_cached_answer_needs_no_service() {
    in_both_modes(|threads| {
        let mut service = Service::echo();
        let kea = setup(threads, &service, json!({"cache-ttl": 600})).start();
        discover_all(&kea, 0..3);
        service.stop();
        discover_all(&kea, 0..3);
        kea.stop().assert_clean();
    });
}

/// Answers belong to requests. The URLs of two requests may be the same.
#[test]
fn requests_with_the_same_url_have_answers_of_their_own() {
    in_both_modes(|threads| {
        let asked = AtomicU32::new(0);
        let service = Service::scripted(move |_| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            Answer::json(json!({"224": number.to_string()}))
        });
        let kea = Setup::new(threads)
            .hook(json!({
                "url": service.url("/{a}{b}"),
                "query": {"a": "option[60].hex", "b": "option[77].hex"},
                "cache-ttl": 600,
            }))
            .start();
        for _ in 0..2 {
            for (number, [a, b]) in [["rack1", "23"], ["rack12", "3"]].iter().enumerate() {
                let offer = kea.client().with(60, a).with(77, b).discover();
                assert_eq!(offer.chain(), Some(number.to_string()));
            }
        }
        assert_eq!(service.targets(), ["/rack123", "/rack123"]);
        kea.stop().assert_clean();
    });
}

/// Anybody can come with ports that the service does not know.
#[test]
fn clients_for_whom_there_is_nothing_push_no_answer_out() {
    in_both_modes(|threads| {
        let mut service = Service::echo();
        let parameters = json!({"cache-ttl": 600, "cache-size": 3});
        let kea = setup(threads, &service, parameters).start();
        discover_all(&kea, 0..3);
        service.answer(Answer::status(404, ""));
        for number in 10..50 {
            assert_eq!(kea.client().with(82, port(number)).discover().chain(), None);
        }
        service.stop();
        discover_all(&kea, 0..3);
        kea.stop().assert_clean();
    });
}

/// About 96 MiB, whatever `cache-size` says. An answer counts three times its body.
#[test]
fn the_bytes_of_the_cache_are_bounded() {
    const CLIENTS: u32 = 600;
    in_both_modes(|threads| {
        let mut service = Service::scripted(|request| {
            let Answer::Whole { mut body, .. } = echo(request) else { unreachable!() };
            body.resize(0x10000, b' ');
            Answer::text(body)
        });
        let parameters = json!({"cache-ttl": 600, "cache-size": 10_000_000});
        let kea = setup(threads, &service, parameters).start();
        discover_all(&kea, 0..CLIENTS);
        service.stop();
        let is_kept = |number: &u32| {
            kea.client().with(82, port(*number)).discover().chain() == Some(about(*number))
        };
        let kept = (0..CLIENTS).filter(is_kept).count() as u32;
        assert!((1..=96 * 1024 / 192).contains(&kept), "{kept} answers kept");
        assert!(is_kept(&(CLIENTS - 1)) && !is_kept(&0), "the oldest goes first");
    });
}
