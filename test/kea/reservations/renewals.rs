// SPDX-License-Identifier: MPL-2.0
//! A client renews an address that the service gave. Its packet comes without a relay agent, and
//! perhaps from an operating system that the filters do not admit.

use dhcproto::v4::MessageType;
use serde_json::{Value, json};

use super::{
    ANOTHER, IN_POOL, OUT_OF_POOL, assert_gets, assert_gets_dynamic, assert_ignored,
    assert_refused, assert_renews, client, saying, setup_with,
};
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

/// A kept answer says for which request an address is, and not for which client: an operator has
/// inserted it. A client that renews the address without option 82 may be the one.
#[test]
fn no_lease_is_refused_while_nobody_knows_whose_the_address_is() {
    in_both_modes(|threads| {
        let given = [(1, given(OUT_OF_POOL)), (2, given(IN_POOL))];
        let service = Service::scripted(saying(&given));
        let kea = start(threads, &service, json!({"user-class": "iPXE"}));
        let outside = client(&kea, 1).with(77, b"iPXE");
        let inside = client(&kea, 2).with(77, b"iPXE");
        let acks = [assert_gets(&outside, OUT_OF_POOL), assert_gets(&inside, IN_POOL)];
        let renewing = inside.without(82);
        let system = outside.without(77);
        kea.command("remote-opts-cache-clear").unwrap();
        for (number, answer) in given {
            let arguments = json!({
                "sub-options": {"1": format!("{number:08}")}, "answer": answer, "fresh-for": 600,
            });
            kea.command_with("remote-opts-cache-insert", arguments).unwrap();
        }
        // Kea alone has no reply to a client outside of its pools.
        assert_ignored(&kea, &outside.without(82), &acks[0]);
        assert_renews(&renewing, &acks[1]);
        // A client without the lease gets no address that may be another client's.
        let stranger = kea.client();
        assert_refused(&stranger, &acks[1]);
        assert_ne!(stranger.discover_address(IN_POOL).address(), IN_POOL);
        // Option 82 says whose the address is, also where no filter admits the packet.
        assert_renews(&system, &acks[0]);
        // At its next boot the client shows whose the address is.
        assert_gets(&inside, IN_POOL);
        assert_eq!(renewing.renew(&acks[1]).chain().as_deref(), Some("somestring"));
        kea.stop().assert_clean();
    });
}
