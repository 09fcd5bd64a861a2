// SPDX-License-Identifier: MPL-2.0
//! A client renews an address that the service gave. Its packet comes without a relay agent, and
//! perhaps from an operating system that the filters do not admit.

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use super::{ANOTHER, OUT_OF_POOL, assert_gets, assert_gets_dynamic, client, saying, setup_with};
use crate::{about, in_both_modes};
use remote_opts_test_support::dhcp::port;
use remote_opts_test_support::kea::{Kea, Threads};
use remote_opts_test_support::service::Service;

/// A server that also replies to a client without a relay agent.
fn start(threads: Threads, service: &Service, parameters: Value) -> Kea {
    // Without a relay agent, the reply comes back to the test only with this variable.
    let setup = setup_with(threads, service, parameters);
    setup.env("KEA_TEST_SEND_RESPONSES_TO_SOURCE", "1").start()
}

/// What the service says about the client behind port 1.
fn given(address: std::net::Ipv4Addr) -> Value {
    json!({"ip-address": address, "options": {"224": "somestring"}})
}

/// The renewal is looked up by the request that gave the address.
#[test]
fn a_renewal_without_a_relay_agent_keeps_the_address_and_the_options() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, given(OUT_OF_POOL))]));
        let kea = start(threads, &service, json!({}));
        let client = client(&kea, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        let asked = service.asked();
        for _ in 0..2 {
            let renewed = client.without(82).renew_without_relay(&ack);
            assert_eq!((renewed.kind(), renewed.address()), (MessageType::Ack, OUT_OF_POOL));
            assert_eq!(renewed.chain().as_deref(), Some("somestring"));
        }
        assert_eq!(service.asked(), asked + 2);
        assert!(service.targets().iter().all(|target| *target == about(1)));
        // The service has another address for the client now.
        service.script(saying(&[(1, given(ANOTHER))]));
        let refused = client.without(82).renew_without_relay(&ack);
        assert_eq!(refused.kind(), MessageType::Nak);
        assert_gets(&client, ANOTHER);
        kea.stop().assert_clean();
    });
}

/// An address is renewed by the client that has it, and by nobody else.
#[test]
fn nobody_renews_an_address_that_is_another_clients() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, given(OUT_OF_POOL))]));
        let kea = start(threads, &service, json!({}));
        let client = client(&kea, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        let asked = service.asked();
        let stranger = kea.client();
        assert_eq!(stranger.renew_without_relay(&ack).kind(), MessageType::Nak);
        // The client's own lease is over, so a packet without a name is nobody's.
        client.release(&ack);
        super::wait_until_free(&kea, OUT_OF_POOL);
        assert_eq!(client.without(82).renew_without_relay(&ack).kind(), MessageType::Nak);
        assert_eq!(service.asked(), asked);
        kea.stop().assert_clean();
    });
}

/// The firmware is admitted, and the operating system goes on with its address.
#[test]
fn a_renewal_that_no_filter_admits_keeps_the_address() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, given(OUT_OF_POOL)), (2, json!({}))]));
        let kea = start(threads, &service, json!({"user-class": "iPXE"}));
        let firmware = client(&kea, 1).with(77, b"iPXE");
        let ack = assert_gets(&firmware, OUT_OF_POOL);
        let system = firmware.without(77);
        // With the relay agent (it rebinds), and without (it renews).
        let rebound = system.renew(&ack);
        assert_eq!((rebound.kind(), rebound.address()), (MessageType::Ack, OUT_OF_POOL));
        let renewed = system.without(82).renew_without_relay(&ack);
        assert_eq!((renewed.kind(), renewed.address()), (MessageType::Ack, OUT_OF_POOL));
        // At another port the answer is another port's.
        let asked = service.asked();
        let moved = system.without(82).with(82, port(2));
        assert_eq!(moved.renew(&ack).kind(), MessageType::Nak);
        assert_eq!(service.asked(), asked);
        // A system that asks for a new address is not looked up.
        assert_gets_dynamic(&system, &[OUT_OF_POOL]);
        kea.stop().assert_clean();
    });
}

/// The address is not NAKed while nobody can be asked.
#[test]
fn a_renewal_without_a_relay_agent_keeps_the_address_while_the_service_is_down() {
    in_both_modes(|threads| {
        let mut service = Service::scripted(saying(&[(1, given(OUT_OF_POOL))]));
        let kea = start(threads, &service, json!({}));
        let client = client(&kea, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        service.stop();
        let renewed = client.without(82).renew_without_relay(&ack);
        assert_eq!((renewed.kind(), renewed.address()), (MessageType::Ack, OUT_OF_POOL));
        kea.stop();
    });
}
