// SPDX-License-Identifier: MPL-2.0
//! A lookup costs its own client the service's time, and every other client nothing. On a Kea that
//! can park packets, this holds for any number of lookups. On a Kea that cannot, each lookup takes
//! a thread.

use std::thread;
use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::json;

use crate::{FOO_BAR, about, discover_all, in_both_modes, median, port};
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::{wait_until, wait_until_within};

/// A server that looks up the clients of user class "test". All clients of a test can wait at once,
/// and an answer is cached for longer than a test takes.
fn start(threads: Threads, service: &Service) -> Kea {
    let parameters =
        json!({"url": service.url("/"), "timeout": 60_000, "cache-ttl": 600, "user-class": "test"});
    Setup::new(threads).set("parked-packet-limit", json!(1000)).hook(parameters).start()
}

/// Clients that are looked up, each behind its own port.
fn clients(kea: &Kea, number: u32) -> Vec<Client> {
    (0..number).map(|number| kea.client().with(82, port(number)).with(77, "test")).collect()
}

/// How many lookups can be under way at once.
fn at_once(threads: Threads) -> u32 {
    match threads {
        _ if kea::parks() => 200,
        Threads::One => 1,
        Threads::Four => 4,
    }
}

/// How long a client that the filter refuses waits for its OFFER: the median for each of two
/// servers. The servers are asked in turn, so that other work of the machine slows both in the same
/// way.
fn latencies_of_refused_clients(servers: [&Kea; 2]) -> [Duration; 2] {
    let latency = |kea: &Kea| {
        let client = kea.client().with(82, FOO_BAR).with(77, "other");
        let sent = client.send_discover();
        client.reply("DISCOVER").arrived - sent
    };
    let pairs = (0..50).map(|_| servers.map(latency)).collect::<Vec<_>>();
    [0, 1].map(|server| median(pairs.iter().map(|pair| pair[server]).collect()))
}

#[test]
fn clients_that_ask_at_once_are_looked_up_at_the_same_time_and_have_their_own_offers() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = start(threads, &service);
        let clients = clients(&kea, at_once(threads));
        service.hold();
        discover_all(&clients, &service);
        // Not one after the other: the service has given no answer yet.
        service.wait_until_open(clients.len());
        assert!(!clients.iter().any(Client::has_reply), "an OFFER before the service's answer");
        service.release();
        for (number, client) in (0..).zip(&clients) {
            assert_eq!(client.reply("DISCOVER").chain(), Some(about(number)));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn a_refused_client_is_answered_at_once_while_others_are_looked_up() {
    in_both_modes(|threads| {
        if !kea::parks() && threads == Threads::One {
            println!("this Kea cannot park, and its only thread waits");
            return;
        }
        let service = Service::echo();
        service.hold();
        let [kea, without] = [(); 2].map(|()| start(threads, &service));
        // A Kea that cannot park keeps one thread free.
        let number = if kea::parks() { at_once(threads) } else { at_once(threads) - 1 };
        let clients = clients(&kea, number);
        discover_all(&clients, &service);

        let [meanwhile, idle] = latencies_of_refused_clients([&kea, &without]);
        println!("{threads:?}: refused in {meanwhile:?}, {idle:?} without the others");
        assert!(
            meanwhile < idle + Duration::from_millis(20),
            "{meanwhile:?}, {idle:?} without the others"
        );
        // The client gets its OFFER at full speed, as far as a busy machine can show it.
        assert!(
            meanwhile < idle * 4 + Duration::from_millis(3),
            "{meanwhile:?}, {idle:?} without the others"
        );
        assert!(!clients.iter().any(Client::has_reply), "an OFFER before the service's answer");

        service.release();
        for (number, client) in (0..).zip(&clients) {
            assert_eq!(client.reply("DISCOVER").chain(), Some(about(number)));
        }
        kea.stop().assert_clean();
    });
}

#[test]
fn a_client_whose_answer_is_kept_is_answered_at_once_while_others_are_looked_up() {
    in_both_modes(|threads| {
        if !kea::parks() && threads == Threads::One {
            println!("this Kea cannot park, and its only thread waits");
            return;
        }
        let service = Service::echo();
        let kea = start(threads, &service);
        let kept = || kea.client().with(82, FOO_BAR).with(77, "test");
        kept().discover();
        service.hold();
        let number = if kea::parks() { at_once(threads) } else { at_once(threads) - 1 };
        let clients = clients(&kea, number);
        discover_all(&clients, &service);
        for _ in 0..20 {
            assert!(kept().discover().chain().is_some());
        }
        assert!(!clients.iter().any(Client::has_reply), "an OFFER before the service's answer");
        assert_eq!(service.asked(), clients.len() + 1);
    });
}

/// Without a wake-up, Kea's main thread looks for work once a second: thirty OFFERs would take
/// fifteen seconds.
#[test]
fn a_packet_goes_on_as_soon_as_its_answer_is_there() {
    in_both_modes(|threads| {
        let service = Service::echo();
        let kea = start(threads, &service);
        let latencies = (0..).zip(clients(&kea, 30)).map(|(number, client)| {
            let sent = client.send_discover();
            let offer = client.reply("DISCOVER");
            assert_eq!(offer.chain(), Some(about(number)));
            offer.arrived - sent
        });
        let latency = median(latencies.collect());
        assert!(latency < Duration::from_millis(250), "{latency:?}");
        kea.stop().assert_clean();
    });
}

/// Every kind of query that is looked up waits.
#[test]
fn request_and_inform_wait_for_their_answer_too() {
    in_both_modes(|threads| {
        let service = Service::answering(
            Answer::json(json!({"224": "somestring"}))
                .cache_control("no-store")
                .after(Duration::from_millis(50)),
        );
        let kea = start(threads, &service);
        let client = kea.client().with(82, FOO_BAR).with(77, "test");
        let [offer, ack] = client.exchange();
        // The exchange is over: a new lookup is made for this REQUEST.
        let again = client.request(&offer);
        for reply in [offer, ack, again, client.inform()] {
            assert_eq!(reply.chain().as_deref(), Some("somestring"));
        }
        assert_eq!(service.asked(), 3);
        kea.stop().assert_clean();
    });
}

/// Every client gets its reply when its timeout is over.
#[test]
fn a_service_that_never_answers_costs_one_timeout() {
    // Longer than a busy machine takes to send all queries: after three failures the service is
    // down.
    const TIMEOUT: Duration = Duration::from_secs(6);
    // Less than a second timeout would add.
    const SLACK: Duration = Duration::from_secs(2);
    in_both_modes(|threads| {
        let service = Service::answering(Answer::Never);
        let parameters = json!({"url": service.url("/"), "timeout": TIMEOUT.as_millis()});
        let kea =
            Setup::new(threads).set("parked-packet-limit", json!(1000)).hook(parameters).start();
        let clients = clients(&kea, at_once(threads));
        let sent = discover_all(&clients, &service);
        for (client, sent) in clients.iter().zip(sent) {
            let offer = client.reply("DISCOVER");
            assert_eq!(offer.chain(), None);
            let spent = offer.arrived - sent;
            assert!(spent >= TIMEOUT && spent < TIMEOUT + SLACK, "{spent:?}");
        }
        wait_until("all failures", || {
            kea.statistic("remote-opts-failed") == Some(clients.len() as i64)
        });
        assert!(kea.stop().status.success());
    });
}

/// When the parking lot is full, Kea refuses every client, and sends a NAK to a client that renews
/// its lease. So the hook leaves room in the lot. A client without a place finds its answer later.
#[test]
fn a_client_that_finds_no_place_in_the_parking_lot_finds_its_answer_later() {
    const LIMIT: u32 = 40;
    in_both_modes(|threads| {
        if !kea::parks() {
            println!("this Kea cannot park");
            return;
        }
        let service = Service::echo();
        let parameters = json!({"url": service.url("/"), "timeout": 60_000, "user-class": "test",
            "cache-ttl": 0});
        let kea =
            Setup::new(threads).set("parked-packet-limit", json!(LIMIT)).hook(parameters).start();
        let other = kea.client().with(82, FOO_BAR).with(77, "other");
        let [offer, _] = other.exchange();

        service.hold();
        let packet_threads = if threads == Threads::Four { 4 } else { 1 };
        let clients = clients(&kea, LIMIT + 20);
        // Each lookup is made, whether its packet finds a place or not.
        discover_all(&clients, &service);
        service.wait_until_open(clients.len());
        let left = 20 + packet_threads;
        assert_eq!(kea.statistic("remote-opts-turned-away"), Some(i64::from(left)));
        let line = kea.logged(&["REMOPTS_PARKING_FULL", "tid="]);
        assert!(line.starts_with("WARN"), "{line}");
        for _ in 0..10 {
            assert_eq!(other.request(&offer).kind(), MessageType::Ack);
        }
        assert!(!clients.iter().any(Client::has_reply), "a reply without an answer");

        service.release();
        for (number, client) in (0..).zip(&clients) {
            wait_until("an OFFER", || {
                if !client.has_reply() {
                    client.send_discover_again();
                }
                wait_until_within(Duration::from_secs(1), || client.has_reply())
            });
            assert_eq!(client.reply("DISCOVER").chain(), Some(about(number)));
        }
        assert_eq!(service.asked(), clients.len(), "one request for each client");
        // There is room again.
        assert!(kea.client().with(82, port(9999)).with(77, "test").discover().chain().is_some());
        assert_eq!(kea.count("DHCP4_PACKET_NAK_0001"), 0, "Kea met its own limit");
        assert!(kea.stop().status.success());
    });
}

/// A server with a parked DISCOVER of the client behind port 7, whose answer the service holds back.
fn parked(threads: Threads) -> (Service, Kea, Client) {
    let service = Service::echo();
    service.hold();
    let kea = start(threads, &service);
    let client = kea.client().with(82, port(7)).with(77, "test");
    client.send_discover();
    service.wait_until_open(1);
    (service, kea, client)
}

/// A client has one place, and its packet that waits is the only one.
#[test]
fn a_retransmission_of_a_parked_packet_is_ended() {
    in_both_modes(|threads| {
        if !kea::parks() {
            println!("this Kea cannot park");
            return;
        }
        let (service, kea, client) = parked(threads);
        for _ in 0..10 {
            client.send_discover_again();
        }
        wait_until("ten retransmissions", || {
            kea.statistic("remote-opts-retransmissions") == Some(10)
        });
        service.release();
        assert_eq!(client.reply("DISCOVER").chain(), Some(about(7)));
        assert!(!client.has_reply(), "a second OFFER");
        assert_eq!(service.asked(), 1);
        kea.stop().assert_clean();
    });
}

#[test]
fn a_client_s_next_transaction_takes_the_place_of_its_parked_packet() {
    in_both_modes(|threads| {
        if !kea::parks() {
            println!("this Kea cannot park");
            return;
        }
        let (service, kea, client) = parked(threads);
        for number in 1..=100 {
            client.send_discover();
            wait_until("the next transaction", || {
                kea.statistic("remote-opts-superseded") == Some(number)
            });
        }
        // Clients beside the flood are served.
        service.release();
        for number in 0..10 {
            let other = kea.client().with(82, port(number)).with(77, "test");
            assert_eq!(other.discover().chain(), Some(about(number)));
        }
        assert_eq!(client.reply("DISCOVER").chain(), Some(about(7)));
        // Kea counts an OFFER after it sent it.
        wait_until("one OFFER for each client", || kea.statistic("pkt4-offer-sent") == Some(11));
        kea.stop().assert_clean();
    });
}

/// One request, one place, and nobody beside the client notices.
#[test]
fn a_client_that_floods_costs_other_clients_nothing() {
    const FLOOD: usize = 10_000;
    in_both_modes(|threads| {
        if !kea::parks() {
            println!("this Kea cannot park");
            return;
        }
        let service = Service::scripted(|request| echo(request).after(Duration::from_secs(2)));
        // The places that Kea has by default. An answer is fresh until the flood is over.
        let parameters = json!({"url": service.url("/"), "timeout": 30_000, "cache-ttl": 600});
        let kea = Setup::new(threads).hook(parameters).start();
        let flooding = kea.client().with(82, port(999));
        let others = (0..50).map(|number| kea.client().with(82, port(number)));
        let others: Vec<_> = others.collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..FLOOD {
                    flooding.send_discover();
                    // Kea's socket has no room for all at once.
                    thread::yield_now();
                }
            });
            for client in &others {
                client.send_discover();
            }
            for (number, client) in (0..).zip(&others) {
                wait_until("an OFFER beside the flood", || {
                    // The flood may push a packet out of Kea's socket or queue.
                    wait_until_within(Duration::from_secs(4), || client.has_reply()) || {
                        client.send_discover_again();
                        false
                    }
                });
                assert_eq!(client.reply("DISCOVER").chain(), Some(about(number)));
            }
        });
        assert_eq!(service.asked(), others.len() + 1, "one request for each client");
        assert_eq!(kea.statistic("remote-opts-turned-away"), Some(0), "a place for each client");
        assert!(kea.stop().status.success());
    });
}
