// SPDX-License-Identifier: MPL-2.0
//! Which address a client gets that the service gives one.

use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use serde_json::json;

use super::{
    ANOTHER, ELSEWHERE, FIRST, IN_POOL, OUT_OF_POOL, SECOND, assert_counts, assert_gets,
    assert_gets_dynamic, assert_not_given, assert_refused, assert_renews, client, in_small_pool,
    saying, setup, subnet, wait_until_free,
};
use crate::in_both_modes;
use remote_opts_test_support::kea::Setup;
use remote_opts_test_support::service::Service;

#[test]
fn a_client_gets_its_address_wherever_the_subnet_has_it() {
    in_both_modes(|threads| {
        for address in [IN_POOL, OUT_OF_POOL] {
            let answer = json!({"ip-address": address, "options": {"224": "somestring"}});
            let service = Service::scripted(saying(&[(1, answer)]));
            let kea = setup(threads, &service).start();
            let client = client(&kea, 1);
            let ack = assert_gets(&client, address);
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
            kea.logged(&["REMOPTS_ACKED", &client.hwaddr(), &format!("ip-address {address}")]);
            assert_eq!(kea.lease(address).expect("a lease")["subnet-id"], 1);
            // Renewal, reboot, and a client that has forgotten everything.
            assert_renews(&client, &ack);
            let rebooted = client.request_address(address);
            assert_eq!((rebooted.kind(), rebooted.address()), (MessageType::Ack, address));
            assert_gets(&client, address);
            // A client that has another wish.
            assert_eq!(client.discover_address([10, 77, 1, 9].into()).address(), address);
            assert_gets_dynamic(&kea.client(), &[address]);
            assert_counts(&kea, 7, 0, 1);
            kea.stop().assert_clean();
        }
    });
}

/// Two subnets on one wire: the relay agent's one, and another one.
fn in_shared_network(setup: Setup) -> Setup {
    let second = json!({
        "id": 2,
        "subnet": "10.78.0.0/24",
        "pools": [{"pool": "10.78.0.10-10.78.0.20"}],
        "relay": {"ip-addresses": ["127.0.0.1"]},
    });
    let network = json!({"name": "wire", "subnet4": [subnet(json!({})), second]});
    // A subnet that is not on this wire.
    let third = json!({"id": 3, "subnet": "10.79.0.0/16"});
    setup.set("shared-networks", json!([network])).set("subnet4", json!([third]))
}

#[test]
fn an_address_of_another_subnet_on_the_same_wire_takes_the_client_there() {
    in_both_modes(|threads| {
        for address in [[10, 78, 0, 15], [10, 78, 0, 200], [10, 77, 251, 1]].map(Ipv4Addr::from) {
            let service = Service::scripted(saying(&[(1, json!({"ip-address": address}))]));
            let kea = in_shared_network(setup(threads, &service)).start();
            let client = client(&kea, 1);
            let ack = assert_gets(&client, address);
            let (id, mask) = if address.octets()[1] == 78 { (2, 24) } else { (1, 16) };
            let mask = (u32::MAX << (32 - mask)).to_be_bytes();
            assert_eq!(ack.option(1), Some(mask.to_vec()));
            assert_eq!(kea.lease(address).expect("a lease")["subnet-id"], id);
            assert_renews(&client, &ack);
            assert_gets(&client, address);
            kea.stop().assert_clean();
        }
    });
}

/// An address that is refused costs only itself.
#[test]
fn an_address_that_no_subnet_of_the_client_has_is_refused_alone() {
    in_both_modes(|threads| {
        for address in [ELSEWHERE, [10, 79, 0, 1].into()] {
            let answer = json!({
                "ip-address": address,
                "hostname": "node7",
                "options": {"224": "somestring"},
            });
            let service = Service::scripted(saying(&[(1, answer)]));
            let kea = in_shared_network(setup(threads, &service)).start();
            let client = client(&kea, 1);
            let ack = assert_gets_dynamic(&client, &[]);
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
            assert_eq!(ack.option(12).as_deref(), Some(&b"node7"[..]));
            let member = format!("\"ip-address\": \"{address}\"");
            let line = kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), &member]);
            assert!(line.starts_with("WARN"), "{line}");
            assert_renews(&client, &ack);
            assert!(kea.stop().status.success());
        }
    });
}

/// The same for a subnet that is on a wire of its own.
#[test]
fn an_address_outside_of_the_only_subnet_is_refused_alone() {
    in_both_modes(|threads| {
        let answer = json!({
            "ip-address": ELSEWHERE,
            "hostname": "node7",
            "options": {"224": "somestring"},
        });
        let service = Service::scripted(saying(&[(1, answer)]));
        let kea = setup(threads, &service).start();
        let client = client(&kea, 1);
        let ack = assert_gets_dynamic(&client, &[]);
        assert_eq!(ack.chain().as_deref(), Some("somestring"));
        assert_eq!(ack.option(12).as_deref(), Some(&b"node7"[..]));
        let member = format!("\"ip-address\": \"{ELSEWHERE}\"");
        kea.logged(&["REMOPTS_EDIT_REFUSED", &client.hwaddr(), &member]);
        assert_renews(&client, &ack);
        assert!(kea.stop().status.success());
    });
}

#[test]
fn a_client_whose_address_is_taken_gets_it_when_it_is_free() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, json!({"ip-address": IN_POOL}))]));
        let kea = setup(threads, &service).start();
        let holder = kea.client();
        let offer = holder.discover_address(IN_POOL);
        let held = holder.request(&offer);
        assert_eq!((held.kind(), held.address()), (MessageType::Ack, IN_POOL));

        let client = client(&kea, 1);
        let ack = assert_gets_dynamic(&client, &[IN_POOL]);
        kea.logged(&["ALLOC_ENGINE_V4_DISCOVER_ADDRESS_CONFLICT", &client.hwaddr()]);
        assert_not_given(&kea, &client, IN_POOL, ack.address());
        assert_counts(&kea, 0, 2, 1);
        assert_renews(&client, &ack);

        holder.release(&held);
        wait_until_free(&kea, IN_POOL);
        // Kea sends the client back to the begin, where its own address waits.
        assert_refused(&client, &ack);
        let ack = assert_gets(&client, IN_POOL);
        assert_renews(&client, &ack);
        // The refusal carries no address.
        assert_counts(&kea, 3, 3, 1);
        assert!(kea.stop().status.success());
    });
}

#[test]
fn of_two_clients_with_the_same_address_one_gets_it_and_the_other_one_is_served() {
    in_both_modes(|threads| {
        for address in [IN_POOL, OUT_OF_POOL] {
            let answer = json!({"ip-address": address});
            let service = Service::scripted(saying(&[(1, answer.clone()), (2, answer)]));
            let kea = setup(threads, &service).start();
            let [first, second] = [1, 2].map(|number| client(&kea, number));
            let ack = assert_gets(&first, address);
            let other = assert_gets_dynamic(&second, &[address]);
            assert_not_given(&kea, &second, address, other.address());
            // Each keeps what it has.
            assert_renews(&first, &ack);
            assert_renews(&second, &other);
            first.release(&ack);
            wait_until_free(&kea, address);
            assert_refused(&second, &other);
            assert_gets(&second, address);
            assert_gets_dynamic(&first, &[address]);
            assert!(kea.stop().status.success());
        }
    });
}

/// The service has named the address, and the client has no lease yet.
#[test]
fn no_stranger_gets_an_address_that_a_kept_answer_reserves() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, json!({"ip-address": FIRST}))]));
        let setup = in_small_pool(setup(threads, &service));
        let kea = setup.set("authoritative", json!(true)).start();
        let owner = client(&kea, 1);
        assert_eq!(owner.discover().address(), FIRST);
        assert_counts(&kea, 1, 0, 1);

        // Strangers that are not looked up, and strangers whom the service does not know.
        let [stranger, unknown, late] = [kea.client(), client(&kea, 2), kea.client()];
        for stranger in [&stranger, &unknown] {
            assert_eq!(stranger.discover_address(FIRST).address(), SECOND);
            assert_eq!(stranger.discover().address(), SECOND);
        }
        assert_eq!(stranger.request(&stranger.discover()).kind(), MessageType::Ack);
        // Now the pool is empty but for the address that is kept.
        late.send_discover_address(FIRST);
        kea.logged(&["ALLOC_ENGINE_V4_ALLOC_FAIL", &late.tid()]);
        assert!(!late.has_reply());
        // A client that claims to have had the address.
        assert_eq!(kea.client().request_address(FIRST).kind(), MessageType::Nak);

        let ack = assert_gets(&owner, FIRST);
        assert_renews(&owner, &ack);
        kea.stop().assert_clean();
    });
}

/// Who has an address dynamically keeps it until the service gives it to another client.
#[test]
fn a_stranger_loses_an_address_that_the_service_gives_to_another_client() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[]));
        // Without a relay agent, the reply comes back to the test only with this variable.
        let setup = setup(threads, &service).env("KEA_TEST_SEND_RESPONSES_TO_SOURCE", "1");
        let kea = setup.start();
        let stranger = kea.client();
        let ack = stranger.request(&stranger.discover_address(IN_POOL));
        assert_eq!((ack.kind(), ack.address()), (MessageType::Ack, IN_POOL));
        assert_renews(&stranger, &ack);
        let answer = json!({"ip-address": IN_POOL, "options": {"224": "the owner's"}});
        service.script(saying(&[(1, answer)]));
        let owner = client(&kea, 1);
        assert_gets_dynamic(&owner, &[IN_POOL]);
        // As with a reservation that was added to the configuration. The stranger holds the lease,
        // and gets no options of the owner's all the same.
        let refused = stranger.renew(&ack);
        assert_eq!((refused.kind(), refused.chain()), (MessageType::Nak, None), "{refused:?}");
        assert_gets_dynamic(&stranger, &[IN_POOL]);
        wait_until_free(&kea, IN_POOL);
        assert_gets(&owner, IN_POOL);
        assert!(kea.stop().status.success());
    });
}

/// A client with a host name or an address of its own is a known one to Kea.
#[test]
fn a_client_with_a_reservation_is_of_the_class_known() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[
            (1, json!({"hostname": "node7"})),
            (2, json!({"ip-address": ANOTHER})),
            (3, json!({"224": "somestring"})),
        ]));
        let kea = setup(threads, &service).add_pool("10.77.0.16-10.77.0.255", "KNOWN").start();
        let class = |number| client(&kea, number).exchange()[1].address();
        assert_eq!(class(1).octets()[2], 0, "an address for known clients");
        assert_eq!(class(2), ANOTHER);
        assert_ne!(class(3).octets()[2], 0, "an address for everybody");
        assert_ne!(class(4).octets()[2], 0, "an address for everybody");
        kea.stop().assert_clean();
    });
}
