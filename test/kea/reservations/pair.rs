// SPDX-License-Identifier: MPL-2.0
//! Two servers in hot standby agree on the addresses and the host names of the service.

use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::json;

use super::{
    ANOTHER, IN_POOL, OUT_OF_POOL, assert_gets, assert_gets_dynamic, assert_renews, client, saying,
};
use crate::high_availability::{Pair, Place};
use crate::in_both_modes;
use remote_opts_test_support::dhcp::Reply;
use remote_opts_test_support::service::Service;
use remote_opts_test_support::wait_until;

/// Checks that both servers have the lease of `ack`, and that it is of a client of this name.
#[track_caller]
fn assert_agree(pair: &Pair, ack: &Reply, hostname: &str) {
    let members = ["ip-address", "hw-address", "subnet-id", "hostname", "valid-lft", "state"];
    let leases = [&pair.primary, &pair.standby].map(|kea| {
        wait_until("a lease at both servers", || kea.lease(ack.address()).is_some());
        let lease = kea.lease(ack.address()).expect("a lease");
        members.map(|member| lease[member].clone())
    });
    assert_eq!(leases[0], leases[1]);
    assert_eq!(leases[0][3], hostname);
}

#[test]
fn both_servers_have_the_same_leases_and_either_one_goes_on_alone() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[
            (1, json!({"ip-address": OUT_OF_POOL, "hostname": "node7"})),
            (2, json!({"ip-address": IN_POOL})),
            (3, json!({"hostname": "node8"})),
            (4, json!({"ip-address": ANOTHER, "hostname": "node9"})),
        ]));
        let pair = Pair::start(threads, Place::AfterHa, &service);
        let clients = [1, 2, 3, 9].map(|number| client(&pair.primary, number));
        let acks = [
            assert_gets(&clients[0], OUT_OF_POOL),
            assert_gets(&clients[1], IN_POOL),
            assert_gets_dynamic(&clients[2], &[]),
            assert_gets_dynamic(&clients[3], &[]),
        ];
        for (ack, hostname) in acks.iter().zip(["node7", "", "node8", ""]) {
            assert_agree(&pair, ack, hostname);
        }
        for (client, ack) in clients.iter().zip(&acks) {
            assert_renews(client, ack);
        }

        let standby = pair.fail_over();
        for (client, ack) in clients.iter().zip(&acks) {
            assert_renews(client, ack);
        }
        let ack = assert_gets(&clients[0], OUT_OF_POOL);
        assert_eq!(ack.option(12).as_deref(), Some(&b"node7"[..]));
        assert_gets(&client(&standby, 4), ANOTHER);
        standby.stop().assert_clean();
    });
}

/// The standby has never been told the client's address by the service: only its lease.
#[test]
fn a_standby_that_cannot_ask_takes_no_address_away() {
    in_both_modes(|threads| {
        let mut service = Service::scripted(saying(&[(1, json!({"ip-address": OUT_OF_POOL}))]));
        let pair = Pair::start(threads, Place::AfterHa, &service);
        let client = client(&pair.primary, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        assert_agree(&pair, &ack, "");
        service.stop();
        let standby = pair.fail_over();
        client.send_renewal(&ack);
        standby.logged(&["REMOPTS_LOOKUP_FAILED", &client.tid()]);
        // Kea works on this client after the other one.
        assert_gets_dynamic(&standby.client(), &[OUT_OF_POOL]);
        assert!(!client.has_reply(), "a reply to a renewal that nobody can judge");
        service.start();
        wait_until("the end of the back-off", || {
            client.send_renewal(&ack);
            client.reply_within(Duration::from_secs(1)).is_some_and(|renewed| {
                assert_eq!((renewed.kind(), renewed.address()), (MessageType::Ack, OUT_OF_POOL));
                true
            })
        });
        assert!(standby.stop().status.success());
    });
}
