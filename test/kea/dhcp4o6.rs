// SPDX-License-Identifier: MPL-2.0
//! Clients of DHCPv4 over DHCPv6 (RFC 7341). Kea has the reply to such a packet at once or never, so
//! the packet never waits: it is answered from what is known, else the client's next one finds the
//! answer.

use std::sync::OnceLock;
use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::json;

use crate::{about, in_both_modes, port, preloaded};
use remote_opts_test_support::dhcp::{Client, Reply};
use remote_opts_test_support::dhcp4o6::Dhcp6Side;
use remote_opts_test_support::kea::{HOOK_LOGGER, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service, echo};
use remote_opts_test_support::{PATIENCE, wait_until};

/// A server that asks this service. Answers are not fresh for any time.
fn start(threads: Threads, service: &Service) -> (Dhcp6Side, Kea) {
    let parameters = json!({"url": service.url("/"), "cache-ttl": 0, "timeout": 60_000});
    let setup = Setup::new(threads).hook(parameters).debug(HOOK_LOGGER);
    static LOOPBACK: OnceLock<String> = OnceLock::new();
    Dhcp6Side::start(&setup, || LOOPBACK.get_or_init(|| preloaded("loopback")))
}

/// The OFFER to a client that asks until it has one.
fn offer(dhcp6: &Dhcp6Side, client: &Client) -> Reply {
    let mut offer = None;
    wait_until("an OFFER", || {
        dhcp6.send_discover_again(client);
        offer = dhcp6.reply_within(client, Duration::from_millis(300));
        offer.is_some()
    });
    offer.unwrap()
}

#[test]
fn a_packet_over_dhcpv6_never_waits_and_the_next_one_finds_the_answer() {
    in_both_modes(|threads| {
        let service = Service::echo();
        service.hold();
        let (dhcp6, kea) = start(threads, &service);
        let clients: Vec<_> = (0..20).map(|number| kea.client().with(82, port(number))).collect();
        for client in &clients {
            dhcp6.send_discover(client);
            kea.logged(&["REMOPTS_DROPPED", &client.hwaddr(), &client.tid()]);
        }
        // Kea takes such packets on its main thread, which is free.
        let other = kea.client();
        dhcp6.send_discover(&other);
        let other_offer = dhcp6.reply_within(&other, PATIENCE).expect("an OFFER");
        assert_eq!(other_offer.address().octets()[1], 78, "an address of another subnet");
        // A renewal is answered from what is known, here nothing.
        let ack = dhcp6.request(&other, &other_offer);
        let renewed = dhcp6.renew(&other.twin().with(82, port(99)), &ack);
        assert_eq!((renewed.kind(), renewed.chain()), (MessageType::Ack, None));
        assert_eq!(kea.statistic("remote-opts-turned-away"), Some(21));

        service.release();
        service.wait_until_asked(21);
        for (number, client) in (0..).zip(&clients) {
            let offer = offer(&dhcp6, client);
            assert_eq!((offer.kind(), offer.chain()), (MessageType::Offer, Some(about(number))));
            let ack = dhcp6.request(client, &offer);
            assert_eq!((ack.kind(), ack.chain()), (MessageType::Ack, Some(about(number))));
        }
        assert_eq!(service.asked(), 21, "one request for each client");
        assert!(kea.stop().status.success());
    });
}

#[test]
fn a_packet_over_dhcpv6_is_answered_from_what_is_known() {
    in_both_modes(|threads| {
        let service = Service::scripted(|request| echo(request).cache_control("max-age=600"));
        let (dhcp6, kea) = start(threads, &service);
        // An answer that is fresh, brought by a client that came another way.
        assert_eq!(kea.client().with(82, port(1)).discover().chain(), Some(about(1)));
        let client = kea.client().with(82, port(1));
        dhcp6.send_discover(&client);
        let offer = dhcp6.reply_within(&client, PATIENCE).expect("an OFFER");
        assert_eq!(offer.chain(), Some(about(1)));
        assert_eq!(service.asked(), 1);

        // An answer that is stale, once no fresh one can be had.
        service.script(echo);
        assert_eq!(kea.client().with(82, port(2)).discover().chain(), Some(about(2)));
        service.answer(Answer::status(500, ""));
        let client = kea.client().with(82, port(2));
        dhcp6.send_discover(&client);
        let offer = self::offer(&dhcp6, &client);
        assert_eq!(offer.chain(), Some(about(2)));
        assert_eq!(dhcp6.request(&client, &offer).chain(), Some(about(2)));
        assert!(kea.stop().status.success());
    });
}
