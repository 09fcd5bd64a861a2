//! Several backends, and none that works: who is asked, who is given up and when it is back, and what the clients get
//! in the meantime.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use crate::support::backend::{Answer, Backend};
use crate::support::dhcp::{Client, Reply};
use crate::support::kea::{self, HOOK_LOGGER, Kea, Setup, Threads};
use crate::support::load::{self, Exchange, Load};
use crate::support::wait_until;
use crate::{FOO_BAR, FOO_BAR_QUERY, about, discover_all, in_both_modes, median, port, size};

/// A backend that names itself.
fn named(name: &str) -> Backend {
    Backend::answering(answer(name))
}

fn answer(name: &str) -> Answer {
    Answer::json(json!({"224": name}))
}

fn failure() -> Answer {
    Answer::status(500, "")
}

/// A server that asks these backends in this order and keeps no answer, unless the parameters say otherwise.
fn setup(threads: Threads, backends: &[&Backend], parameters: Value) -> Setup {
    let urls = backends.iter().map(|backend| backend.url("/")).collect::<Vec<_>>();
    let mut all = json!({"url": urls, "cache-ttl": 0});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    Setup::new(threads)
        .option("tftp-server-name", "from the configuration")
        .set("parked-packet-limit", json!(1000))
        .hook(all)
}

/// The OFFER to a client behind a port of its own.
fn offer(kea: &Kea, number: u32) -> Reply {
    kea.client().with(82, port(number)).discover()
}

// ---------------------------------------------------------------------------------------------------
// In order, in time

#[test]
fn the_first_backend_is_asked_while_it_answers() {
    in_both_modes(|threads| {
        let [first, second] = ["first", "second"].map(named);
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..10 {
            assert_eq!(offer(&kea, number).chain().as_deref(), Some("first"));
        }
        // It has nothing for these clients, and that is its answer.
        for (number, status) in [(10, 204), (11, 404)] {
            first.answer(Answer::status(status, ""));
            assert_eq!(offer(&kea, number).chain(), None);
        }
        assert_eq!((first.asked(), second.asked()), (12, 0));
        kea.stop().assert_clean();
    });
}

#[test]
fn the_next_backend_is_asked_where_one_fails() {
    in_both_modes(|threads| {
        for failure in [failure(), Answer::text("no JSON"), Answer::redirect("/".into()), Answer::HangUp] {
            let first = Backend::answering(failure);
            let mut second = named("second");
            let third = named("third");
            second.stop();
            let kea = setup(threads, &[&first, &second, &third], json!({})).debug(HOOK_LOGGER).start();
            let client = kea.client().with(82, FOO_BAR);
            assert_eq!(client.discover().chain().as_deref(), Some("third"));
            for backend in [&first, &second, &third] {
                kea.logged(&["REMOPTS_LOOKUP ", &client.hwaddr(), &backend.url("/")]);
            }
            assert!(first.asked() > 0);
            assert_eq!(third.targets(), [format!("/?{FOO_BAR_QUERY}")]);
            for backend in [&first, &second] {
                let line = kea.logged(&["REMOPTS_LOOKUP_FAILED", &client.hwaddr(), &backend.url("/")]);
                assert!(line.starts_with("ERROR"), "{line}");
            }
        }
    });
}

#[test]
fn each_backend_gets_an_equal_share_of_the_time_left() {
    in_both_modes(|threads| {
        let [first, second] = [Answer::Never, Answer::Never].map(Backend::answering);
        let third = named("third");
        let kea = setup(threads, &[&first, &second, &third], json!({"timeout": 6000})).start();
        let client = kea.client().with(82, FOO_BAR);
        let sent = client.send_discover();
        let offer = client.reply("DISCOVER");
        assert_eq!(offer.chain().as_deref(), Some("third"));
        let arrived = [&first, &second, &third].map(|backend| backend.requests()[0].arrived);
        for share in [arrived[1] - arrived[0], arrived[2] - arrived[1]] {
            // Two seconds each, as far as a busy machine shows it.
            assert!(share >= Duration::from_millis(1300) && share < Duration::from_millis(2700), "{share:?}");
        }
        assert!(offer.arrived - sent < Duration::from_millis(6000), "{:?}", offer.arrived - sent);
    });
}

/// The time that one backend does not need is the next one's.
#[test]
fn one_deadline_is_for_all_backends() {
    in_both_modes(|threads| {
        let first = Backend::answering(failure());
        let second = Backend::answering(answer("second").after(Duration::from_millis(2800)));
        let kea = setup(threads, &[&first, &second], json!({"timeout": 4000})).start();
        assert_eq!(offer(&kea, 1).chain().as_deref(), Some("second"));

        let [first, second] = [Answer::Never, Answer::Never].map(Backend::answering);
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
fn an_answer_is_kept_whichever_backend_it_came_from() {
    in_both_modes(|threads| {
        let first = Backend::answering(failure());
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({"cache-ttl": 600})).start();
        for _ in 0..3 {
            assert_eq!(offer(&kea, 1).chain().as_deref(), Some("second"));
        }
        assert_eq!((first.asked(), second.asked()), (1, 1));
    });
}

// ---------------------------------------------------------------------------------------------------
// Given up, and back

/// How many requests a backend that is given up after `failures` of them may have got since `start`, trials included.
fn with_trials(failures: usize, start: Instant) -> usize {
    failures + start.elapsed().as_secs() as usize + 1
}

#[test]
fn after_three_failures_in_a_row_a_backend_is_left_out() {
    in_both_modes(|threads| {
        let start = Instant::now();
        let first = Backend::answering(failure());
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..50 {
            assert_eq!(offer(&kea, number).chain().as_deref(), Some("second"));
            if number == 2 {
                let line = kea.logged(&["REMOPTS_BACKEND_GIVEN_UP", &first.url("/")]);
                assert!(line.starts_with("WARN"), "{line}");
            }
        }
        assert_eq!(second.asked(), 50);
        assert!(first.asked() >= 3, "{} requests", first.asked());
        assert!(first.asked() <= with_trials(3, start), "{} requests", first.asked());
        assert_eq!(kea.count("REMOPTS_BACKEND_GIVEN_UP"), 1);
        assert_eq!(kea.count("REMOPTS_BACKEND_BACK"), 0);
    });
}

/// Answers each request of this rank, and fails at the others.
fn fails_unless(every: usize) -> Backend {
    let asked = AtomicUsize::new(0);
    Backend::scripted(move |_| match (asked.fetch_add(1, Ordering::SeqCst) + 1) % every {
        0 => answer("first"),
        _ => failure(),
    })
}

#[test]
fn fewer_failures_in_a_row_do_not_count() {
    in_both_modes(|threads| {
        // Two failures, a success, two failures, …
        let first = fails_unless(3);
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..30 {
            let expected = if (number + 1) % 3 == 0 { "first" } else { "second" };
            assert_eq!(offer(&kea, number).chain().as_deref(), Some(expected));
        }
        assert_eq!((first.asked(), second.asked()), (30, 20));
        assert_eq!(kea.count("REMOPTS_BACKEND_GIVEN_UP"), 0);
        // Twenty failures, and well under ten seconds.
        assert_eq!(kea.count("REMOPTS_LOOKUP_FAILED"), 10, "the lines of one backend in ten seconds");
    });
}

/// When a backend that works is back, at the latest: the contract says two seconds, the rest is for a busy machine.
const BACK: Duration = Duration::from_secs(4);

/// One trial a second, for the requests that it failed, in turn; the first success brings the backend back.
#[test]
fn a_backend_is_tried_once_a_second_until_it_is_back() {
    in_both_modes(|threads| {
        let mut first = Backend::answering(failure());
        let second = named("second");
        let kea = setup(threads, &[&first, &second], json!({})).start();
        for number in 0..3 {
            offer(&kea, number);
        }
        kea.logged(&["REMOPTS_BACKEND_GIVEN_UP", &first.url("/")]);
        first.wait_until_asked(6);
        let requests = first.requests();
        for (number, trial) in (1..).zip(&requests[3..6]) {
            // Since the third failure: never earlier, and up to a second and a half later on a busy machine.
            let (after, due) = (trial.arrived - requests[2].arrived, Duration::from_secs(number));
            assert!(after >= due, "trial {number} after {after:?}");
            assert!(after < due + Duration::from_millis(1500), "trial {number} after {after:?}");
        }
        let tried: Vec<_> = requests[3..6].iter().map(|trial| &trial.target).collect();
        assert_eq!(tried, [&about(2), &about(1), &about(0)], "the latest first, then the others");
        assert_eq!(second.asked(), 3, "trials go to the failing backend alone");

        // Away, and back.
        first.stop();
        assert_eq!(offer(&kea, 3).chain().as_deref(), Some("second"));
        first.answer(answer("first"));
        let start = Instant::now();
        first.start();
        let line = kea.logged(&["REMOPTS_BACKEND_BACK", &first.url("/")]);
        assert!(line.starts_with("INFO"), "{line}");
        assert!(start.elapsed() < BACK, "back after {:?}", start.elapsed());
        let asked = first.asked();
        for number in 4..10 {
            assert_eq!(offer(&kea, number).chain().as_deref(), Some("first"));
        }
        assert_eq!(first.asked(), asked + 6, "no trials any more");
        assert_eq!(second.asked(), 4);
    });
}

/// With all backends given up a lookup is no request and no waiting.
#[test]
fn with_no_backend_left_lookups_fail_at_once() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    in_both_modes(|threads| {
        let backend = Backend::answering(Answer::Never);
        let start = Instant::now();
        let parameters = json!({"timeout": TIMEOUT.as_millis()});
        let kea = setup(threads, &[&backend], parameters).start();
        for number in 0..3 {
            assert_eq!(offer(&kea, number).chain(), None);
        }
        kea.logged(&["REMOPTS_BACKEND_GIVEN_UP", &backend.url("/")]);
        let latency = |client: Client| {
            let sent = client.send_discover();
            let offer = client.reply("DISCOVER");
            assert_eq!(offer.option(66).as_deref(), Some(&b"from the configuration"[..]));
            offer.arrived - sent
        };
        // In turn with clients that nothing names, and nobody looks up: what else the machine does counts for both.
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
        assert!(backend.asked() <= with_trials(3, start), "{} requests", backend.asked());

        let start = Instant::now();
        backend.answer(answer("back"));
        kea.logged(&["REMOPTS_BACKEND_BACK", &backend.url("/")]);
        assert!(start.elapsed() < BACK, "back after {:?}", start.elapsed());
        assert_eq!(offer(&kea, 1).chain().as_deref(), Some("back"));
    });
}

#[test]
fn a_lookup_without_a_backend_says_so_at_debug_alone() {
    in_both_modes(|threads| {
        let backend = Backend::answering(failure());
        let kea = setup(threads, &[&backend], json!({})).debug(HOOK_LOGGER).start();
        for number in 0..3 {
            offer(&kea, number);
        }
        kea.logged(&["REMOPTS_BACKEND_GIVEN_UP"]);
        let client = kea.client().with(82, FOO_BAR);
        client.discover();
        let line = kea.logged(&["REMOPTS_NO_BACKEND", &client.hwaddr(), "tid="]);
        assert!(line.starts_with("DEBUG"), "{line}");
        assert!(
            !kea.log()
                .iter()
                .any(|line| { line.contains("REMOPTS_LOOKUP_FAILED") && line.contains(&client.hwaddr()) })
        );
    });
}

// ---------------------------------------------------------------------------------------------------
// Under load

/// Exchanges a second. A debug build has less to give.
fn rate() -> u32 {
    size("REMOPTS_RATE", if cfg!(debug_assertions) { 150 } else { 500 })
}

/// Parameters that leave a busy machine the time it needs: no request is late.
fn slow() -> Value {
    json!({"timeout": 10_000})
}

/// The chain of an exchange, which is the same in OFFER and ACK.
#[track_caller]
fn chain_of(exchange: &Exchange) -> Option<String> {
    let [offer, ack] = [&exchange.offer, &exchange.ack].map(Reply::chain);
    assert_eq!(offer, ack, "OFFER and ACK");
    offer
}

#[test]
fn a_backend_killed_under_load_is_replaced_and_taken_back() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut first = named("first");
        let second = named("second");
        let kea = setup(threads, &[&first, &second], slow()).start();
        let mut moments = Vec::new();
        let exchanges = load::during(
            &kea,
            rate(),
            |number| kea.client().with(82, port(number)),
            |load| {
                load.wait_for_more(200);
                // It takes some time to be killed.
                moments.push(Instant::now());
                first.stop();
                moments.push(Instant::now());
                kea.logged(&["REMOPTS_BACKEND_GIVEN_UP", &first.url("/")]);
                load.wait_for_more(200);
                moments.push(Instant::now());
                first.start();
                kea.logged(&["REMOPTS_BACKEND_BACK", &first.url("/")]);
                moments.push(Instant::now());
                load.wait_for_more(200);
            },
        );
        let [alive, killed, restarted, back] = moments[..] else { unreachable!() };
        for exchange in &exchanges {
            let chain = chain_of(exchange).expect("an answer for every exchange");
            // What was under way at such a moment may have been answered by either.
            if exchange.begun > back || exchange.ack.arrived < alive {
                assert_eq!(chain, "first");
            } else if exchange.begun > killed && exchange.ack.arrived < restarted {
                assert_eq!(chain, "second");
            }
        }
        assert_eq!(kea.count("REMOPTS_BACKEND_GIVEN_UP"), 1);
        assert!(kea.stop().status.success());
    });
}

/// Kills both backends of this server under load, and starts them again after `away`. Hands on the exchanges of three
/// times: while the backends were away, after they were back, and between.
fn both_killed(threads: Threads, parameters: Value, away: impl Fn(&Kea, &Load)) -> [Vec<Exchange>; 3] {
    let [mut first, mut second] = ["somestring", "somestring"].map(named);
    let kea = setup(threads, &[&first, &second], parameters).start();
    let mut moments = Vec::new();
    // A port is asked about again and again, and each has had an answer before the backends are killed.
    const PORTS: u32 = 20;
    for number in 0..PORTS {
        assert_eq!(offer(&kea, number).chain().as_deref(), Some("somestring"));
    }
    let client = |number| kea.client().with(82, port(number % PORTS));
    let exchanges = load::during(&kea, rate(), client, |load| {
        load.wait_for_more(100);
        first.stop();
        second.stop();
        for backend in [&first, &second] {
            kea.logged(&["REMOPTS_BACKEND_GIVEN_UP", &backend.url("/")]);
        }
        // Until here, who joins a request may get an answer that was on its way.
        moments.push(Instant::now());
        away(&kea, load);
        moments.push(Instant::now());
        first.start();
        second.start();
        for backend in [&first, &second] {
            kea.logged(&["REMOPTS_BACKEND_BACK", &backend.url("/")]);
        }
        moments.push(Instant::now());
        load.wait_for_more(100);
    });
    assert!(kea.stop().status.success());
    let [killed, restarted, back] = moments[..] else { unreachable!() };
    let mut by_time = [(); 3].map(|()| Vec::new());
    for exchange in exchanges {
        let time = match &exchange {
            one if one.begun > killed && one.ack.arrived < restarted => 0,
            one if one.begun > back => 1,
            _ => 2,
        };
        by_time[time].push(exchange);
    }
    by_time
}

/// OFFER and ACK of each of these exchanges carry `chain`, and there is at least one.
#[track_caller]
fn assert_all(exchanges: &[Exchange], chain: Option<&str>) {
    assert!(!exchanges.is_empty());
    for exchange in exchanges {
        assert_eq!(chain_of(exchange).as_deref(), chain);
    }
}

#[test]
fn with_both_backends_killed_replies_go_on_without_overrides() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let [away, back, _] = both_killed(threads, slow(), |_, load| load.wait_for_more(200));
        assert_all(&away, None);
        assert_all(&back, Some("somestring"));
    });
}

#[test]
fn with_both_backends_killed_stale_answers_serve_where_they_are_allowed() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut parameters = slow();
        parameters["stale-if-error"] = json!(600);
        let exchanges = both_killed(threads, parameters, |kea, load| {
            load.wait_for_more(200);
            assert!(kea.statistic("remote-opts-stale") > Some(0));
        });
        for exchanges in &exchanges {
            assert_all(exchanges, Some("somestring"));
        }
    });
}

#[test]
fn with_both_backends_killed_and_on_error_drop_nobody_is_served_until_they_are_back() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut parameters = slow();
        parameters["on-error"] = json!("drop");
        let [away, back, between] = both_killed(threads, parameters, |kea, _| {
            wait_until("dropped packets", || kea.statistic("remote-opts-dropped") > Some(100));
        });
        assert!(away.is_empty(), "{} exchanges without a backend", away.len());
        // Those who asked in vain too: they asked again.
        for exchanges in [&back, &between] {
            assert_all(exchanges, Some("somestring"));
        }
    });
}

// ---------------------------------------------------------------------------------------------------
// stale-if-error

/// The first answer is stale at once; then the backend fails. The parameter, what the backend says, and whether the
/// stale answer serves.
#[test]
fn a_stale_answer_serves_if_the_parameter_or_the_backend_allows_it() {
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
            let backend = Backend::answering(answer("old").cache_control(cache_control));
            let parameters = json!({"stale-if-error": parameter, "cache-ttl": 600});
            let kea = setup(threads, &[&backend], parameters).debug(HOOK_LOGGER).start();
            kea.client().with(82, FOO_BAR).exchange();
            backend.answer(failure());
            // With the backend asked, and with it given up.
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
        let backend = Backend::answering(Answer::status(404, "").cache_control("max-age=0"));
        let parameters = json!({"stale-if-error": 600, "on-error": "drop"});
        let kea = setup(threads, &[&backend], parameters).start();
        kea.client().with(82, FOO_BAR).exchange();
        backend.answer(failure());
        // Not dropped.
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
        assert_eq!(kea.statistic("remote-opts-stale"), Some(1));
    });
}

#[test]
fn a_stale_answer_serves_no_longer_than_allowed() {
    in_both_modes(|threads| {
        const ALLOWED: Duration = Duration::from_secs(3);
        let backend = Backend::answering(answer("old").cache_control("max-age=0, stale-if-error=3"));
        let kea = setup(threads, &[&backend], json!({})).start();
        let start = Instant::now();
        kea.client().with(82, FOO_BAR).exchange();
        let answered = Instant::now();
        backend.answer(failure());
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

// ---------------------------------------------------------------------------------------------------
// on-error

/// A client that cannot be looked up, and is refused by nothing else.
#[track_caller]
fn assert_dropped(kea: &Kea, client: &Client) {
    client.send_discover();
    let line = kea.logged(&["REMOPTS_DROPPED", &client.hwaddr(), &client.tid()]);
    assert!(line.starts_with("DEBUG"), "{line}");
}

#[test]
fn a_failed_lookup_drops_the_packet_if_the_operator_says_so() {
    in_both_modes(|threads| {
        let backend = Backend::answering(failure());
        let parameters = json!({"on-error": "drop", "user-class": "test"});
        let kea = setup(threads, &[&backend], parameters).debug(HOOK_LOGGER).start();
        let client = kea.client().with(82, FOO_BAR).with(77, "test");
        // With the backend asked, and with it given up.
        for _ in 0..2 {
            assert_dropped(&kea, &client);
        }
        assert_eq!(kea.count("REMOPTS_BACKEND_GIVEN_UP"), 0);
        let other = kea.client().with(82, FOO_BAR).with(77, "test");
        for client in [&other, &kea.client().with(82, port(1)).with(77, "test")] {
            assert_dropped(&kea, client);
        }
        kea.logged(&["REMOPTS_BACKEND_GIVEN_UP"]);

        // Who is not looked up gets a reply.
        kea.client().with(82, FOO_BAR).with(77, "other").exchange();
        kea.client().with(77, "test").exchange();
        assert!(!client.has_reply() && !other.has_reply(), "a reply to a packet that was to be dropped");
        assert_eq!(kea.statistic("remote-opts-dropped"), Some(4));

        // A client asks again.
        backend.answer(answer("back"));
        kea.logged(&["REMOPTS_BACKEND_BACK"]);
        assert_eq!(client.discover_again().chain().as_deref(), Some("back"));
        // Nothing for this client is no failure.
        backend.answer(Answer::status(404, ""));
        let client = kea.client().with(82, port(2)).with(77, "test");
        assert_eq!(client.discover().kind(), MessageType::Offer);
        assert!(kea.stop().status.success());
        assert!(!other.has_reply(), "a reply to a packet that was to be dropped");
    });
}

#[test]
fn a_failed_lookup_of_a_request_drops_it_too() {
    in_both_modes(|threads| {
        let backend = Backend::answering(answer("first").cache_control("no-store"));
        let kea = setup(threads, &[&backend], json!({"on-error": "drop"})).debug(HOOK_LOGGER).start();
        let client = kea.client().with(82, FOO_BAR);
        let [offer, _] = client.exchange();
        backend.answer(failure());
        client.send_request(&offer);
        kea.logged(&["REMOPTS_DROPPED", &client.hwaddr()]);
        backend.answer(answer("second"));
        assert_eq!(client.request(&offer).chain().as_deref(), Some("second"));
        assert!(!client.has_reply(), "a reply to a packet that was to be dropped");
    });
}

// ---------------------------------------------------------------------------------------------------
// max-in-flight

/// That many lookups are under way; hands on their clients.
fn under_way(kea: &Kea, backend: &Backend, number: u32) -> Vec<Client> {
    backend.hold();
    let clients = (0..number).map(|number| kea.client().with(82, port(number))).collect::<Vec<_>>();
    discover_all(&clients, backend);
    clients
}

/// A Kea that waits in its only thread has never more than one lookup under way.
fn never_two_at_once(threads: Threads) -> bool {
    let never = !kea::parks() && threads == Threads::One;
    if never {
        println!("this Kea cannot park: its only thread makes one lookup at a time");
    }
    never
}

#[test]
fn past_max_in_flight_a_lookup_fails_at_once() {
    in_both_modes(|threads| {
        if never_two_at_once(threads) {
            return;
        }
        let backend = named("somestring");
        let parameters = json!({"max-in-flight": 2, "timeout": 60_000});
        let kea = setup(threads, &[&backend], parameters).start();
        let clients = under_way(&kea, &backend, 2);
        for number in 100..150 {
            let offer = offer(&kea, number);
            assert_eq!(offer.chain(), None);
            assert_eq!(offer.option(66).as_deref(), Some(&b"from the configuration"[..]));
        }
        let line = kea.logged(&["REMOPTS_TOO_MANY_LOOKUPS"]);
        assert!(line.starts_with("WARN"), "{line}");
        assert!(kea.count("REMOPTS_TOO_MANY_LOOKUPS") <= 10, "a line for each of 50 packets");
        assert_eq!(kea.statistic("remote-opts-turned-away"), Some(50));
        assert_eq!(backend.asked(), 2);

        backend.release();
        for client in clients {
            assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("somestring"));
        }
        // There is room again, and the backend was never to blame.
        assert_eq!(offer(&kea, 200).chain().as_deref(), Some("somestring"));
        assert_eq!(kea.count("REMOPTS_BACKEND_GIVEN_UP"), 0);
        assert_eq!(kea.statistic("remote-opts-failed"), Some(0));
        assert!(kea.stop().status.success());
    });
}

#[test]
fn past_max_in_flight_a_packet_gets_on_error() {
    in_both_modes(|threads| {
        if never_two_at_once(threads) {
            return;
        }
        let backend = named("somestring");
        let parameters = json!({"max-in-flight": 1, "timeout": 60_000, "on-error": "drop"});
        let kea = setup(threads, &[&backend], parameters).debug(HOOK_LOGGER).start();
        let clients = under_way(&kea, &backend, 1);
        let client = kea.client().with(82, FOO_BAR);
        assert_dropped(&kea, &client);
        backend.release();
        assert_eq!(clients[0].reply("DISCOVER").chain().as_deref(), Some("somestring"));
        assert_eq!(client.discover_again().chain().as_deref(), Some("somestring"));
        assert!(!client.has_reply(), "a reply to a packet that was to be dropped");
    });
}

/// An answer that is kept is no lookup.
#[test]
fn past_max_in_flight_answers_that_are_kept_go_on_serving() {
    in_both_modes(|threads| {
        if never_two_at_once(threads) {
            return;
        }
        let backend = named("somestring");
        let parameters = json!({"max-in-flight": 1, "timeout": 60_000, "cache-ttl": 600});
        let kea = setup(threads, &[&backend], parameters).start();
        kea.client().with(82, FOO_BAR).discover();
        let clients = under_way(&kea, &backend, 1);
        assert_eq!(kea.client().with(82, FOO_BAR).discover().chain().as_deref(), Some("somestring"));
        backend.release();
        clients[0].reply("DISCOVER");
        kea.stop().assert_clean();
    });
}
