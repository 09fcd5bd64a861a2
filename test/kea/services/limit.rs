// SPDX-License-Identifier: MPL-2.0
//! The concurrency limit `max-in-flight`.

use serde_json::json;

use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{self, HOOK_LOGGER, Kea, Threads};
use remote_opts_test_support::service::Service;

use super::{assert_dropped, named, offer, setup};
use crate::{FOO_BAR, discover_all, in_both_modes, port};

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

#[test]
fn past_max_in_flight_a_lookup_fails_at_once() {
    in_both_modes(|threads| {
        if never_two_at_once(threads) {
            return;
        }
        let service = named("somestring");
        let parameters = json!({"max-in-flight": 2, "timeout": 60_000});
        let kea = setup(threads, &[&service], parameters).start();
        let clients = under_way(&kea, &service, 2);
        for number in 100..150 {
            let offer = offer(&kea, number);
            assert_eq!(offer.chain(), None);
            assert_eq!(offer.option(66).as_deref(), Some(&b"from the configuration"[..]));
        }
        let line = kea.logged(&["REMOPTS_TOO_MANY_LOOKUPS"]);
        assert!(line.starts_with("WARN"), "{line}");
        assert!(kea.count("REMOPTS_TOO_MANY_LOOKUPS") <= 10, "a line for each of 50 packets");
        assert_eq!(kea.statistic("remote-opts-turned-away"), Some(50));
        assert_eq!(service.asked(), 2);

        service.release();
        for client in clients {
            assert_eq!(client.reply("DISCOVER").chain().as_deref(), Some("somestring"));
        }
        // There is room again. No failure counted against the service.
        assert_eq!(offer(&kea, 200).chain().as_deref(), Some("somestring"));
        assert_eq!(kea.count("REMOPTS_SERVICE_DOWN"), 0);
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
        let service = named("somestring");
        let parameters = json!({"max-in-flight": 1, "timeout": 60_000, "on-error": "drop"});
        let kea = setup(threads, &[&service], parameters).debug(HOOK_LOGGER).start();
        let clients = under_way(&kea, &service, 1);
        let client = kea.client().with(82, FOO_BAR);
        assert_dropped(&kea, &client);
        service.release();
        assert_eq!(clients[0].reply("DISCOVER").chain().as_deref(), Some("somestring"));
        assert_eq!(client.discover_again().chain().as_deref(), Some("somestring"));
        assert!(!client.has_reply(), "a reply to a packet that was to be dropped");
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
