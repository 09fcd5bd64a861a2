//! What is asked once and answered many times: how long an answer lives, and for whom. Requests are counted, each
//! client's query being in a transaction of its own.

use std::fs;
use std::ops::Range;
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::support::backend::{Answer, Backend};
use crate::support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use crate::support::wait_until;
use crate::{FOO_BAR, about, in_both_modes, port, size};

/// A server that asks this backend, with these parameters besides `url`.
fn setup(threads: Threads, backend: &Backend, mut parameters: Value) -> Setup {
    parameters["url"] = backend.url("/").into();
    Setup::new(threads).hook(parameters)
}

fn answer() -> Answer {
    Answer::json(json!({"224": "somestring"}))
}

/// How many requests three clients behind the same port make, one after the other.
#[track_caller]
fn requests_of_three_clients(kea: &Kea, backend: &Backend) -> usize {
    let before = backend.asked();
    for _ in 0..3 {
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("somestring"));
    }
    backend.asked() - before
}

#[test]
fn an_answer_serves_every_client_behind_the_same_port() {
    in_both_modes(|threads| {
        let backend = Backend::answering(answer());
        let kea = setup(threads, &backend, json!({})).debug(HOOK_LOGGER).start();
        assert_eq!(requests_of_three_clients(&kea, &backend), 1);
        let client = kea.client().with(82, FOO_BAR);
        assert_eq!(client.inform().chain().as_deref(), Some("somestring"));
        let line = kea.logged(&["REMOPTS_CACHED", &client.hwaddr(), "tid=", &backend.targets()[0]]);
        assert!(line.starts_with("DEBUG"), "{line}");
        assert_eq!(backend.asked(), 1);
        kea.stop().assert_clean();
    });
}

#[test]
fn each_port_has_an_answer_of_its_own() {
    in_both_modes(|threads| {
        let backend = Backend::echo();
        let kea = setup(threads, &backend, json!({})).start();
        for _ in 0..2 {
            for number in 0..5 {
                assert_eq!(kea.client().with(82, port(number)).discover().chain(), Some(about(number)));
            }
        }
        assert_eq!(backend.asked(), 5);
        kea.stop().assert_clean();
    });
}

/// The parameter, what the backend says, and whether the answer is used for the next client.
#[test]
fn the_backend_s_word_wins_over_cache_ttl() {
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
        // Nothing about the life of an answer in our cache.
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
            let backend = Backend::answering(answer);
            let kea = setup(threads, &backend, json!({"cache-ttl": ttl})).start();
            let expected = if reused { 1 } else { 3 };
            let case = format!("cache-ttl {ttl}, Cache-Control {cache_control:?}");
            assert_eq!(requests_of_three_clients(&kea, &backend), expected, "{case}");
            kea.stop().assert_clean();
        }
    });
}

#[test]
fn directives_may_come_in_several_headers() {
    in_both_modes(|threads| {
        let backend = Backend::answering(answer().cache_control("max-age=600").cache_control("no-store"));
        let kea = setup(threads, &backend, json!({})).start();
        assert_eq!(requests_of_three_clients(&kea, &backend), 3);
        kea.stop().assert_clean();
    });
}

/// Has clients ask until there is a second request, and looks how long after the first that was: as soon as one asks past
/// the answer's life, and up to three seconds later on a busy machine.
#[track_caller]
fn assert_asked_again_after(kea: &Kea, backend: &Backend, life: Duration) {
    wait_until("a second request", || {
        kea.client().with(82, FOO_BAR).discover();
        backend.asked() > 1
    });
    let requests = backend.requests();
    let age = requests[1].arrived - requests[0].arrived;
    assert!(age >= life, "asked again after {age:?}");
    assert!(age < life + Duration::from_secs(3), "asked again after {age:?}");
}

#[test]
fn an_answer_of_one_second_is_asked_for_again_after_one_second() {
    in_both_modes(|threads| {
        let by_backend = Backend::answering(answer().cache_control("max-age=1"));
        let kea = setup(threads, &by_backend, json!({"cache-ttl": 600})).start();
        assert_asked_again_after(&kea, &by_backend, Duration::from_secs(1));

        let by_parameter = Backend::answering(answer());
        let kea = setup(threads, &by_parameter, json!({"cache-ttl": 1})).start();
        assert_asked_again_after(&kea, &by_parameter, Duration::from_secs(1));
    });
}

#[test]
fn an_answer_lives_ten_seconds_where_nobody_says_how_long() {
    in_both_modes(|threads| {
        let backend = Backend::answering(answer());
        let kea = setup(threads, &backend, json!({})).start();
        assert_asked_again_after(&kea, &backend, Duration::from_secs(10));
    });
}

#[test]
fn nothing_for_this_client_is_remembered_like_an_answer() {
    in_both_modes(|threads| {
        for (status, cache_control, requests) in
            [(204, "max-age=600", 1), (404, "max-age=600", 1), (404, "no-store", 3)]
        {
            let backend = Backend::answering(Answer::status(status, "").cache_control(cache_control));
            let kea = setup(threads, &backend, json!({"cache-ttl": 0})).start();
            for _ in 0..3 {
                assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
            }
            assert_eq!(backend.asked(), requests, "{status}, {cache_control}");
            kea.stop().assert_clean();
        }
        let backend = Backend::answering(Answer::status(404, ""));
        let kea = setup(threads, &backend, json!({})).start();
        for _ in 0..3 {
            kea.client().with(82, FOO_BAR).exchange();
        }
        assert_eq!(backend.asked(), 1);
    });
}

#[test]
fn failures_are_never_remembered() {
    in_both_modes(|threads| {
        let failures = [Answer::status(500, ""), Answer::text("no JSON"), Answer::text("x".repeat(0x10001))];
        for failure in failures {
            let backend = Backend::answering(failure.cache_control("max-age=600"));
            let kea = setup(threads, &backend, json!({"cache-ttl": 600})).start();
            assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
            backend.answer(answer());
            assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("somestring"));
            assert_eq!(backend.asked(), 2);
        }
    });
}

/// The DISCOVERs of these clients, one after the other.
fn discover_all(kea: &Kea, numbers: impl Iterator<Item = u32>) {
    for number in numbers {
        assert_eq!(kea.client().with(82, port(number)).discover().chain(), Some(about(number)));
    }
}

#[test]
fn the_oldest_answer_makes_room_for_a_new_one() {
    in_both_modes(|threads| {
        let backend = Backend::echo();
        let kea = setup(threads, &backend, json!({"cache-ttl": 600, "cache-size": 3})).start();
        discover_all(&kea, (0..3).chain(0..3));
        assert_eq!(backend.asked(), 3, "three fit in");
        discover_all(&kea, [3, 0].into_iter());
        assert_eq!(backend.asked(), 5, "the first is forgotten for the fourth");
        kea.stop().assert_clean();
    });
}

/// Whatever it chooses to forget: of 60 clients that ask twice, at most 20 are not asked about again.
#[test]
fn the_cache_never_holds_more_than_cache_size() {
    in_both_modes(|threads| {
        let backend = Backend::echo();
        let kea = setup(threads, &backend, json!({"cache-ttl": 600, "cache-size": 20})).start();
        discover_all(&kea, 0..60);
        assert_eq!(backend.asked(), 60);
        discover_all(&kea, 0..60);
        assert!(backend.asked() >= 100, "{} requests", backend.asked());
        kea.stop().assert_clean();
    });
}

#[test]
fn with_a_size_of_zero_nothing_is_kept() {
    in_both_modes(|threads| {
        let backend = Backend::answering(answer().cache_control("max-age=600"));
        let kea = setup(threads, &backend, json!({"cache-ttl": 600, "cache-size": 0})).start();
        assert_eq!(requests_of_three_clients(&kea, &backend), 3);
        // But for the exchange that it was asked for.
        kea.client().with(82, FOO_BAR).exchange();
        assert_eq!(backend.asked(), 4);
        kea.stop().assert_clean();
    });
}

fn memory_kib(pid: u32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().unwrap().parse().expect("a number")
}

/// What a leak of one answer, or of one exchange, per client would cost shows in the second half. The number of clients
/// is REMOPTS_CLIENTS: 100000 to run it in full.
#[test]
fn many_different_clients_leave_memory_level() {
    const AT_ONCE: usize = 32;
    let half = size("REMOPTS_CLIENTS", 6000) / 2;
    in_both_modes(|threads| {
        // Long enough to show.
        let padding = "x".repeat(1000);
        let backend = Backend::scripted(move |request| {
            Answer::json(json!({"224": request.target, "225": padding})).cache_control("max-age=600")
        });
        let setup = setup(threads, &backend, json!({"cache-size": 500, "timeout": 10_000}));
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
                    // Ends the exchange without a lease, whose memory would be Kea's own.
                    assert_eq!(client.request_address([192, 0, 2, 1].into()).kind(), MessageType::Nak);
                }
            }
            memory_kib(kea.pid())
        };
        let start = Instant::now();
        let first = numbers(0..half);
        let second = numbers(half..half * 2);
        println!("{threads:?}: {half} clients {first} KiB, again {second} KiB, {:?}", start.elapsed());
        assert!(second - first < 1000, "{half} clients: {first} KiB, again {second} KiB");
        assert_eq!(backend.asked() as u32, half * 2);
        kea.stop().assert_clean();
    });
}

#[test]
fn an_answer_that_is_kept_needs_no_backend() {
    in_both_modes(|threads| {
        let mut backend = Backend::echo();
        let kea = setup(threads, &backend, json!({"cache-ttl": 600})).start();
        discover_all(&kea, 0..3);
        backend.stop();
        discover_all(&kea, 0..3);
        kea.stop().assert_clean();
    });
}
