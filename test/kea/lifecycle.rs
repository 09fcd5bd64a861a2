// SPDX-License-Identifier: MPL-2.0
//! Reloads and stops, under traffic.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{FOO_BAR, discover_all, in_both_modes, port};
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::holdings::Holdings;
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::load;
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::{PATIENCE, wait_until};

/// Has clients ask one after the other as long as `scope` runs. A query that Kea loses is not
/// waited for longer than a tenth of a second. `scope` gets the number of clients that had a reply.
fn under_traffic<T>(kea: &Kea, scope: impl FnOnce(&AtomicUsize) -> T) -> T {
    let running = AtomicBool::new(true);
    let served = AtomicUsize::new(0);
    thread::scope(|threads| {
        threads.spawn(|| {
            while running.load(Ordering::SeqCst) {
                let client = kea.client().with(82, FOO_BAR);
                if client.discover_within(Duration::from_millis(100)).is_some() {
                    served.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        // Stops the clients also when `scope` panics.
        let _stop = Stop(&running);
        scope(&served)
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Waits until `more` further clients have had a reply.
fn wait_for_more(served: &AtomicUsize, more: usize) {
    let end = Instant::now() + PATIENCE;
    let goal = served.load(Ordering::SeqCst) + more;
    while served.load(Ordering::SeqCst) < goal {
        assert!(Instant::now() < end, "no traffic");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_hundred_reloads_leave_nothing_behind() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea =
            Setup::new(threads).hook(json!({"url": service.url("/"), "cache-ttl": 0})).start();
        let (early, late) = under_traffic(&kea, |served| {
            let reload = |times: usize| {
                for _ in 0..times {
                    kea.reload().unwrap();
                }
                wait_for_more(served, 10);
            };
            // The first reloads fill caches and allocators.
            reload(20);
            let early = Holdings::at_rest(kea.pid(), |_| true);
            reload(200);
            // Kea needs up to three more descriptors while the connection of a command closes; the
            // hook needs one or two for a connection to the service.
            let late = Holdings::at_rest(kea.pid(), |now| {
                now.threads <= early.threads && now.descriptors <= early.descriptors + 4
            });
            (early, late)
        });
        assert!(late.threads <= early.threads, "threads: {early:?}, later {late:?}");
        assert!(
            late.descriptors <= early.descriptors + 4,
            "descriptors: {early:?}, later {late:?}"
        );
        // Ten KiB for each reload would be too much.
        assert!(late.memory_kib <= early.memory_kib + 2000, "memory: {early:?}, later {late:?}");

        for _ in 0..100 {
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
        }
        assert!(!unloading_failed(&kea.log()));
        kea.stop().assert_clean();
    });
}

/// Whether Kea reports that it could not unload a library, or that its `unload` failed.
fn unloading_failed(log: &[String]) -> bool {
    log.iter()
        .any(|line| line.contains("UNLOAD_LIBRARIES_ERROR") || line.contains("HOOKS_UNLOAD_ERROR"))
}

#[test]
fn sigterm_under_traffic_ends_cleanly() {
    in_both_modes(|threads| {
        // The service is slow enough that there is always a lookup under way.
        let answer = Answer::json(json!({"224": "somestring"})).after(Duration::from_millis(30));
        let service = Service::answering(answer);
        let kea =
            Setup::new(threads).hook(json!({"url": service.url("/"), "cache-ttl": 0})).start();
        under_traffic(&kea, |served| {
            wait_for_more(served, 5);
            kea.terminate();
            kea.logged(&["REMOPTS_UNLOADED"]);
        });
        let end = kea.wait();
        end.assert_clean();
        assert!(!unloading_failed(&end.log), "{:#?}", end.log);
    });
}

/// Answers arrive at every moment of a reload. Many subnets make the reload slow.
#[test]
fn reloads_while_answers_arrive() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let service = Service::scripted(|request| echo(request).after(Duration::from_millis(20)));
        let subnets = (0..500).map(|number| {
            let (a, b) = (100 + number / 250, number % 250);
            json!({
                "id": number + 2,
                "subnet": format!("10.{a}.{b}.0/24"),
                "pools": [{ "pool": format!("10.{a}.{b}.10-10.{a}.{b}.99") }],
            })
        });
        let mut setup = Setup::new(threads).hook(json!({"url": service.url("/"), "cache-ttl": 0}));
        setup = setup.set("parked-packet-limit", json!(1000));
        let kea = setup.add_subnets(subnets.collect()).start();
        load::during(
            &kea,
            // A Kea that cannot park makes one lookup after the other.
            if kea::parks() { 100 } else { 20 },
            |number| kea.client().with(82, port(number)),
            |load| {
                for _ in 0..10 {
                    load.wait_for_more(20);
                    kea.reload().unwrap();
                }
                load.wait_for_more(20);
            },
        );
        let end = kea.stop();
        assert!(end.status.success());
        assert!(!unloading_failed(&end.log), "{:#?}", end.log);
    });
}

#[test]
fn loading_and_unloading_are_logged() {
    in_both_modes(|threads| {
        let service = Service::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": service.url("/")})).start();
        kea.reload().unwrap();
        let end = kea.stop();
        end.assert_clean();
        let events = end.log.iter().filter_map(|line| {
            ["REMOPTS_LOADED", "REMOPTS_UNLOADED"].into_iter().find(|id| line.contains(id))
        });
        let expected = ["REMOPTS_LOADED", "REMOPTS_UNLOADED", "REMOPTS_LOADED", "REMOPTS_UNLOADED"];
        assert_eq!(events.collect::<Vec<_>>(), expected);
    });
}

/// How many packets wait for their answers when Kea reloads or ends.
const PARKED: usize = 300;

/// How often in a row each of the tests below repeats its change.
const TIMES: usize = 10;

/// A server that is reloaded or stopped while packets are parked. A Kea that cannot park lets its
/// threads wait, and later packets behind them. There the timeout is short, or the reload would
/// come too late.
fn setup(threads: Threads, service: &Service) -> Setup {
    let timeout = if kea::parks() { 60_000 } else { 100 };
    Setup::new(threads)
        .set("parked-packet-limit", json!(1000))
        .hook(json!({"url": service.url("/"), "timeout": timeout, "cache-ttl": 0}))
}

/// Has clients send a DISCOVER that the service does not answer. Returns the clients.
fn park(kea: &Kea, service: &Service) -> Vec<Client> {
    service.answer(Answer::Never);
    let asked = service.asked();
    let clients =
        (0..PARKED as u32).map(|number| kea.client().with(82, port(number))).collect::<Vec<_>>();
    if kea::parks() {
        discover_all(&clients, service);
    } else {
        for client in &clients {
            client.send_discover();
        }
        service.wait_until_asked(asked + 1);
    }
    clients
}

/// Checks that the client gets an answer. On a Kea that cannot park this may take more than one
/// DISCOVER: a busy machine does not finish every lookup within the short timeout, and the lookups
/// of earlier packets have failed.
#[track_caller]
fn assert_answered(client: &Client) {
    let chain = || client.discover().chain();
    if kea::parks() {
        assert_eq!(chain().as_deref(), Some("somestring"));
    } else {
        wait_until("an answer", || chain().as_deref() == Some("somestring"));
    }
}

/// Checks that the packets that were parked got no reply, and that their requests have ended.
#[track_caller]
fn assert_let_go(service: &Service, clients: &[Client]) {
    wait_until("the end of all requests", || service.open() == 0);
    if kea::parks() {
        let replies = clients.iter().filter(|client| client.has_reply()).count();
        assert_eq!(replies, 0, "packets that were parked are dropped");
    }
}

/// Checks that each life of the library that ended with packets parked logs their number before its
/// last message. `times` is the number of such lives.
#[track_caller]
fn assert_letting_go_logged(log: &[String], times: usize) {
    let ids = ["REMOPTS_LOADED", "REMOPTS_LET_GO", "REMOPTS_UNLOADED"];
    let events =
        log.iter().filter_map(|line| Some((ids.into_iter().find(|id| line.contains(id))?, line)));
    let events = events.collect::<Vec<_>>();
    let lives = events.split_inclusive(|(id, _)| *id == "REMOPTS_UNLOADED").collect::<Vec<_>>();
    let letting_go = lives.iter().filter(|life| {
        life.iter().map(|(id, _)| *id).eq(ids)
            && life[1].1.contains(&format!(" {PARKED} "))
            && life[1].1.starts_with("INFO")
    });
    if kea::parks() {
        assert_eq!(letting_go.count(), times, "{events:#?}");
    }
    assert!(!unloading_failed(log), "{events:#?}");
}

/// Runs `change`, and checks that it does not wait for the timeout of the lookups.
#[track_caller]
fn at_once<T>(change: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = change();
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
    result
}

#[test]
fn a_reload_lets_parked_packets_go() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service).start();
        let mut early = None;
        for _ in 0..TIMES {
            let clients = park(&kea, &service);
            at_once(|| kea.reload()).unwrap();
            assert_let_go(&service, &clients);
            // The clients ask again, and are served.
            service.answer(Answer::json(json!({"224": "somestring"})));
            clients[..5].iter().for_each(assert_answered);
            early.get_or_insert_with(|| Holdings::at_rest(kea.pid(), |_| true));
        }
        let early = early.unwrap();
        let level = |now: Holdings| {
            now.threads <= early.threads && now.descriptors <= early.descriptors + 4
        };
        let late = Holdings::at_rest(kea.pid(), level);
        assert!(level(late), "{early:?}, later {late:?}");
        let end = kea.stop();
        assert!(end.status.success());
        assert_letting_go_logged(&end.log, TIMES);
    });
}

#[test]
fn parked_packets_are_let_go_when_the_library_leaves_the_configuration() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = setup(threads, &service).start();
        let with = kea.configuration();
        let mut without = with.clone();
        without["Dhcp4"]["hooks-libraries"] = json!([]);
        let mut early = None;
        for _ in 0..TIMES {
            let clients = park(&kea, &service);
            let loaded = Holdings::of(kea.pid());
            at_once(|| kea.set_configuration(without.clone())).unwrap();
            assert_let_go(&service, &clients);
            // No thread and no connection of the hook is left.
            let threads = early.map_or(loaded.threads - 1, |early: Holdings| early.threads);
            let unloaded = Holdings::at_rest(kea.pid(), |now| now.threads <= threads);
            assert!(unloaded.threads <= threads, "{loaded:?}, later {unloaded:?}");
            early.get_or_insert(unloaded);
            assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
            kea.set_configuration(with.clone()).unwrap();
        }
        service.answer(Answer::json(json!({"224": "somestring"})));
        assert_answered(&kea.client().with(82, FOO_BAR));
        let end = kea.stop();
        assert!(end.status.success());
        assert_letting_go_logged(&end.log, TIMES);
    });
}

#[test]
fn sigterm_lets_parked_packets_go() {
    in_both_modes(|threads| {
        for _ in 0..TIMES {
            let service = Service::echo();
            let kea = setup(threads, &service).start();
            let clients = park(&kea, &service);
            let end = at_once(|| kea.stop());
            assert!(end.status.success(), "{}:\n{}", end.status, end.log.join("\n"));
            assert_let_go(&service, &clients);
            assert_letting_go_logged(&end.log, 1);
            if kea::parks() {
                end.assert_clean();
            }
        }
    });
}
