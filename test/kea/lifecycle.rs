//! Reloading and stopping, under traffic.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::backend::{Answer, Backend, echo};
use crate::support::dhcp::Client;
use crate::support::kea::{self, Kea, Setup, Threads};
use crate::support::load;
use crate::support::{PATIENCE, wait_until};
use crate::{FOO_BAR, discover_all, in_both_modes, port};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    threads: usize,
    descriptors: usize,
    memory_kib: usize,
}

impl Holdings {
    fn of(pid: u32) -> Holdings {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of a process");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
            line.trim_start_matches(':').split_whitespace().next().unwrap().parse().expect("a number")
        };
        Holdings {
            threads: number("Threads"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count(),
            memory_kib: number("VmRSS"),
        }
    }

    /// What it holds in a quiet moment: connections and threads of the last packets and reloads may still be going.
    fn at_rest(pid: u32, bound: impl Fn(Holdings) -> bool) -> Holdings {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = Holdings::of(pid);
            if bound(now) || Instant::now() > end {
                return now;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Clients that ask one after the other, as long as `scope` runs; lost queries are not waited for.
fn under_traffic<T>(kea: &Kea, scope: impl FnOnce(&AtomicUsize) -> T) -> T {
    let running = AtomicBool::new(true);
    let answered = AtomicUsize::new(0);
    thread::scope(|threads| {
        threads.spawn(|| {
            while running.load(Ordering::SeqCst) {
                let client = kea.client().with(82, FOO_BAR);
                if client.discover_within(Duration::from_millis(100)).is_some() {
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        // Also when `scope` panics.
        let _stop = Stop(&running);
        scope(&answered)
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Waits until that many more queries have been answered.
fn wait_for_more(answered: &AtomicUsize, more: usize) {
    let end = Instant::now() + PATIENCE;
    let goal = answered.load(Ordering::SeqCst) + more;
    while answered.load(Ordering::SeqCst) < goal {
        assert!(Instant::now() < end, "no traffic");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_hundred_reloads_leave_nothing_behind() {
    in_both_modes(|threads| {
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/"), "cache-ttl": 0})).start();
        let (early, late) = under_traffic(&kea, |answered| {
            let reload = |times: usize| {
                for _ in 0..times {
                    kea.reload().unwrap();
                }
                wait_for_more(answered, 10);
            };
            // The first reloads fill caches and allocators.
            reload(20);
            let early = Holdings::at_rest(kea.pid(), |_| true);
            reload(200);
            // Kea itself needs up to three descriptors more while a command's connection is being closed, the hook
            // one or two for a connection to the backend.
            let late = Holdings::at_rest(kea.pid(), |now| {
                now.threads <= early.threads && now.descriptors <= early.descriptors + 4
            });
            (early, late)
        });
        assert!(late.threads <= early.threads, "threads: {early:?}, later {late:?}");
        assert!(late.descriptors <= early.descriptors + 4, "descriptors: {early:?}, later {late:?}");
        // Ten KiB a reload would be too many.
        assert!(late.memory_kib <= early.memory_kib + 2000, "memory: {early:?}, later {late:?}");

        for _ in 0..100 {
            let offer = kea.client().with(82, FOO_BAR).discover();
            assert_eq!(offer.option(224).as_deref(), Some(&b"somestring"[..]));
        }
        assert!(!unloading_failed(&kea.log()));
        kea.stop().assert_clean();
    });
}

/// Kea reports a library that it cannot unload, or whose `unload` fails.
fn unloading_failed(log: &[String]) -> bool {
    log.iter().any(|line| line.contains("UNLOAD_LIBRARIES_ERROR") || line.contains("HOOKS_UNLOAD_ERROR"))
}

#[test]
fn sigterm_under_traffic_ends_cleanly() {
    in_both_modes(|threads| {
        // Slow enough that lookups are under way at any time.
        let answer = Answer::json(json!({"224": "somestring"})).after(Duration::from_millis(30));
        let backend = Backend::answering(answer);
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/"), "cache-ttl": 0})).start();
        under_traffic(&kea, |answered| {
            wait_for_more(answered, 5);
            kea.terminate();
            kea.logged(&["REMOPTS_UNLOADED"]);
        });
        let end = kea.wait();
        end.assert_clean();
        assert!(!unloading_failed(&end.log), "{:#?}", end.log);
    });
}

/// Answers arrive at any moment of a reload, which takes its time over many subnets.
#[test]
fn reloads_while_answers_arrive() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let backend = Backend::scripted(|request| echo(request).after(Duration::from_millis(20)));
        let subnets = (0..500).map(|number| {
            json!({
                "id": number + 2,
                "subnet": format!("10.{}.{}.0/24", 100 + number / 250, number % 250),
                "pools": [{ "pool": format!("10.{0}.{1}.10-10.{0}.{1}.99", 100 + number / 250, number % 250) }],
            })
        });
        let mut setup = Setup::new(threads).hook(json!({"url": backend.url("/"), "cache-ttl": 0}));
        setup = setup.set("parked-packet-limit", json!(1000));
        let kea = setup.add_subnets(subnets.collect()).start();
        load::during(
            &kea,
            // A Kea that cannot park does one lookup after the other.
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
        let backend = Backend::json(json!({"224": "somestring"}));
        let kea = Setup::new(threads).hook(json!({"url": backend.url("/")})).start();
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

/// How often in a row each of the tests below does what it does.
const TIMES: usize = 10;

/// A server to be reloaded and ended with packets parked. Where Kea cannot park, its threads wait, and the packets
/// behind them: not long, or it would not come to a reload in the time of a test.
fn setup(threads: Threads, backend: &Backend) -> Setup {
    let timeout = if kea::parks() { 60_000 } else { 100 };
    Setup::new(threads)
        .set("parked-packet-limit", json!(1000))
        .hook(json!({"url": backend.url("/"), "timeout": timeout, "cache-ttl": 0}))
}

/// Clients that wait for their OFFER.
fn park(kea: &Kea, backend: &Backend) -> Vec<Client> {
    backend.answer(Answer::Never);
    let asked = backend.asked();
    let clients = (0..PARKED as u32).map(|number| kea.client().with(82, port(number))).collect::<Vec<_>>();
    if kea::parks() {
        discover_all(&clients, backend);
    } else {
        for client in &clients {
            client.send_discover();
        }
        backend.wait_until_asked(asked + 1);
    }
    clients
}

/// The client gets an answer. Where Kea cannot park, it may take the client more than one DISCOVER: a busy machine does not
/// make every lookup in the little time that it has, and those that were left of the packets before failed.
#[track_caller]
fn assert_answered(client: &Client) {
    let chain = || client.discover().chain();
    if kea::parks() {
        assert_eq!(chain().as_deref(), Some("somestring"));
    } else {
        wait_until("an answer", || chain().as_deref() == Some("somestring"));
    }
}

/// Nothing came of the packets that were parked, and nothing is left of their requests.
#[track_caller]
fn assert_let_go(backend: &Backend, clients: &[Client]) {
    wait_until("the end of all requests", || backend.open() == 0);
    if kea::parks() {
        let replies = clients.iter().filter(|client| client.has_reply()).count();
        assert_eq!(replies, 0, "packets that were parked are dropped");
    }
}

/// Each life of the library that ended with packets parked says how many they were, before its last word.
#[track_caller]
fn assert_letting_go_logged(log: &[String], times: usize) {
    let ids = ["REMOPTS_LOADED", "REMOPTS_LET_GO", "REMOPTS_UNLOADED"];
    let events = log.iter().filter_map(|line| Some((ids.into_iter().find(|id| line.contains(id))?, line)));
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

/// At once, and not when the lookups' time is over.
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
        let backend = Backend::echo();
        let kea = setup(threads, &backend).start();
        let mut early = None;
        for _ in 0..TIMES {
            let clients = park(&kea, &backend);
            at_once(|| kea.reload()).unwrap();
            assert_let_go(&backend, &clients);
            // They ask again.
            backend.answer(Answer::json(json!({"224": "somestring"})));
            clients[..5].iter().for_each(assert_answered);
            early.get_or_insert_with(|| Holdings::at_rest(kea.pid(), |_| true));
        }
        let early = early.unwrap();
        let level = |now: Holdings| now.threads <= early.threads && now.descriptors <= early.descriptors + 4;
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
        let backend = Backend::echo();
        let kea = setup(threads, &backend).start();
        let with = kea.configuration();
        let mut without = with.clone();
        without["Dhcp4"]["hooks-libraries"] = json!([]);
        let mut early = None;
        for _ in 0..TIMES {
            let clients = park(&kea, &backend);
            let loaded = Holdings::of(kea.pid());
            at_once(|| kea.set_configuration(without.clone())).unwrap();
            assert_let_go(&backend, &clients);
            // No thread of ours is left, nor a connection.
            let threads = early.map_or(loaded.threads - 1, |early: Holdings| early.threads);
            let unloaded = Holdings::at_rest(kea.pid(), |now| now.threads <= threads);
            assert!(unloaded.threads <= threads, "{loaded:?}, later {unloaded:?}");
            early.get_or_insert(unloaded);
            assert_eq!(kea.client().with(82, FOO_BAR).discover().chain(), None);
            kea.set_configuration(with.clone()).unwrap();
        }
        backend.answer(Answer::json(json!({"224": "somestring"})));
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
            let backend = Backend::echo();
            let kea = setup(threads, &backend).start();
            let clients = park(&kea, &backend);
            let end = at_once(|| kea.stop());
            assert!(end.status.success(), "{}:\n{}", end.status, end.log.join("\n"));
            assert_let_go(&backend, &clients);
            assert_letting_go_logged(&end.log, 1);
            if kea::parks() {
                end.assert_clean();
            }
        }
    });
}
