// SPDX-License-Identifier: MPL-2.0
//! The concurrency limit `max-in-flight`.

use serde_json::json;

use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{self, HOOK_LOGGER, Kea, Threads};
use remote_opts_test_support::service::Service;
use remote_opts_test_support::wait_until;

use super::{named, setup};
use crate::{FOO_BAR, FOO_BAR_QUERY, about, discover_all, in_both_modes, port};

/// Begins this many lookups, whose answers the service holds back. Returns their clients.
fn under_way(kea: &Kea, service: &Service, number: u32) -> Vec<Client> {
    service.hold();
    let clients = (0..number).map(|number| kea.client().with(82, port(number))).collect::<Vec<_>>();
    discover_all(&clients, service);
    clients
}

/// Whether two lookups are never under way at once: a Kea that cannot park waits in its only
/// thread.
fn never_two_at_once(threads: Threads) -> bool {
    let never = !kea::parks() && threads == Threads::One;
    if never {
        println!("this Kea cannot park: its only thread makes one lookup at a time");
    }
    never
}

/// How many more lookups than these can wait: on a Kea that cannot park, each takes a thread.
fn more(in_flight: u32) -> u32 {
    if kea::parks() { 50 } else { 4 - in_flight }
}

#[test]
fn past_max_in_flight_lookups_stand_in_line() {
    in_both_modes(|threads| {
        if never_two_at_once(threads) {
            return;
        }
        let service = Service::echo();
        let parameters = json!({"max-in-flight": 2, "timeout": 60_000});
        let kea = setup(threads, &[&service], parameters).debug(HOOK_LOGGER).start();
        under_way(&kea, &service, 2);
        let in_line = (0..more(2)).map(|number| kea.client().with(82, port(100 + number)));
        let in_line: Vec<_> = in_line.collect();
        for (number, client) in (3..).zip(&in_line) {
            client.send_discover();
            wait_until("the DISCOVER in Kea", || {
                kea.statistic("pkt4-discover-received") == Some(number)
            });
        }
        let line = kea.logged(&["REMOPTS_TOO_MANY_LOOKUPS"]);
        assert!(line.starts_with("WARN"), "{line}");
        assert!(kea.count("REMOPTS_TOO_MANY_LOOKUPS") <= 10, "a line for each of 50 packets");
        assert_eq!(service.asked(), 2);
        assert!(!in_line.iter().any(Client::has_reply));

        service.release();
        for (number, client) in (100..).zip(in_line) {
            assert_eq!(client.reply("DISCOVER").chain(), Some(about(number)));
        }
        assert_eq!(kea.statistic("remote-opts-failed"), Some(0));
        assert!(kea.stop().status.success());
    });
}

/// A packet waits in line for `timeout`. Then its client gets no reply, and asks again. The lookup
/// keeps its place in line.
#[test]
fn a_packet_that_has_stood_in_line_for_long_is_left_to_its_retransmission() {
    in_both_modes(|threads| {
        if never_two_at_once(threads) {
            return;
        }
        let service = Service::echo();
        let parameters = json!({"max-in-flight": 1, "timeout": 3000});
        let kea = setup(threads, &[&service], parameters).debug(HOOK_LOGGER).start();
        under_way(&kea, &service, 1);
        // The second lookup is made when the time of the first one is over.
        let second = kea.client().with(82, port(50));
        second.send_discover();
        wait_until("the DISCOVER in Kea", || kea.statistic("pkt4-discover-received") == Some(2));
        let client = kea.client().with(82, FOO_BAR);
        client.send_discover();
        kea.logged(&["REMOPTS_DROPPED", &client.hwaddr()]);
        assert!(!client.has_reply());
        service.release();
        assert_eq!(second.reply("DISCOVER").chain(), Some(about(50)));
        // The answer waits for the client, though no answer is kept for others.
        service.wait_until_asked(3);
        let offer = client.discover_again();
        assert!(offer.chain().is_some_and(|chain| chain.ends_with(FOO_BAR_QUERY)));
        assert_eq!(service.asked(), 3);
        assert!(kea.stop().status.success());
    });
}

/// A cached answer needs no lookup.
#[test]
fn past_max_in_flight_cached_answers_go_on_serving() {
    in_both_modes(|threads| {
        if never_two_at_once(threads) {
            return;
        }
        let service = named("somestring");
        let parameters = json!({"max-in-flight": 1, "timeout": 60_000, "cache-ttl": 600});
        let kea = setup(threads, &[&service], parameters).start();
        kea.client().with(82, FOO_BAR).discover();
        let clients = under_way(&kea, &service, 1);
        assert_eq!(
            kea.client().with(82, FOO_BAR).discover().chain().as_deref(),
            Some("somestring")
        );
        service.release();
        clients[0].reply("DISCOVER");
        kea.stop().assert_clean();
    });
}
