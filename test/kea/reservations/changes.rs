// SPDX-License-Identifier: MPL-2.0
//! The service changes its mind about a client's address, or cannot be asked.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    ANOTHER, FIRST, IN_POOL, OUT_OF_POOL, SECOND, assert_counts, assert_gets, assert_gets_dynamic,
    assert_ignored, assert_refused, assert_renews, client, in_small_pool, saying, setup,
    setup_with,
};
use crate::{about, in_both_modes};
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::wait_until;

/// What the service says about the client behind port 1.
fn given(address: Ipv4Addr) -> Value {
    json!({"ip-address": address, "options": {"224": "somestring"}})
}

#[test]
fn a_client_whose_address_changes_is_sent_back_to_the_begin() {
    in_both_modes(|threads| {
        for (old, new) in [(OUT_OF_POOL, ANOTHER), (IN_POOL, ANOTHER), (OUT_OF_POOL, IN_POOL)] {
            let service = Service::scripted(saying(&[(1, given(old))]));
            let kea = setup(threads, &service).start();
            let client = client(&kea, 1);
            let ack = assert_gets(&client, old);
            service.script(saying(&[(1, given(new))]));
            assert_refused(&client, &ack);
            let ack = assert_gets(&client, new);
            assert_renews(&client, &ack);
            assert!(kea.lease(old).is_none(), "the lease of the old address");
            // A refusal carries no address.
            assert_counts(&kea, 5, 0, 1);
            kea.stop().assert_clean();
        }
    });
}

/// The service changes its mind between OFFER and REQUEST: the exchange has one answer.
#[test]
fn an_exchange_has_one_address() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, given(OUT_OF_POOL))]));
        let kea = setup(threads, &service).start();
        let client = client(&kea, 1);
        let offer = client.discover();
        service.script(saying(&[(1, given(ANOTHER))]));
        let ack = client.request(&offer);
        assert_eq!((ack.kind(), ack.address()), (MessageType::Ack, OUT_OF_POOL));
        assert_gets(&client, ANOTHER);
        kea.stop().assert_clean();
    });
}

#[test]
fn a_client_that_had_a_dynamic_address_gets_its_own() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[]));
        let kea = setup(threads, &service).start();
        let client = client(&kea, 1);
        let ack = assert_gets_dynamic(&client, &[]);
        service.script(saying(&[(1, given(OUT_OF_POOL))]));
        assert_refused(&client, &ack);
        assert_gets(&client, OUT_OF_POOL);
        assert!(kea.lease(ack.address()).is_none(), "the lease of the dynamic address");
        kea.stop().assert_clean();
    });
}

#[test]
fn a_client_whose_answer_has_no_address_any_more_keeps_an_address_of_the_pool_alone() {
    in_both_modes(|threads| {
        let without = [json!({"224": "somestring"}), json!({}), json!({"hostname": "node7"})];
        for without in without {
            for address in [IN_POOL, OUT_OF_POOL] {
                let service = Service::scripted(saying(&[(1, given(address))]));
                let kea = setup(threads, &service).start();
                let client = client(&kea, 1);
                let ack = assert_gets(&client, address);
                service.script(saying(&[(1, without.clone())]));
                if address == IN_POOL {
                    assert_renews(&client, &ack);
                } else {
                    assert_ignored(&kea, &client, &ack);
                    let ack = assert_gets_dynamic(&client, &[]);
                    assert_renews(&client, &ack);
                }
                // Nobody has the address to itself any more.
                assert_counts(&kea, 2, 0, 0);
                kea.stop().assert_clean();
            }
        }
    });
}

#[test]
fn a_client_keeps_its_address_while_the_service_is_down() {
    in_both_modes(|threads| {
        let mut service = Service::scripted(saying(&[(1, given(OUT_OF_POOL))]));
        let kea = setup(threads, &service).start();
        let client = client(&kea, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        service.stop();
        for _ in 0..3 {
            assert_renews(&client, &ack);
            let ack = assert_gets(&client, OUT_OF_POOL);
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
        }
        kea.reload().unwrap();
        assert_renews(&client, &ack);
        assert_gets(&client, OUT_OF_POOL);
        assert_gets_dynamic(&kea.client(), &[]);
        assert!(kea.stop().status.success());
    });
}

/// The service forbids to keep its answers. So nobody knows whether the address is still the
/// client's, and it is not taken away.
#[test]
fn no_address_is_taken_away_because_a_lookup_failed() {
    in_both_modes(|threads| {
        let answer = Answer::json(given(OUT_OF_POOL)).cache_control("no-store");
        let service = Service::answering(answer.clone());
        let kea = setup(threads, &service).start();
        let client = client(&kea, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        service.answer(Answer::status(500, ""));
        assert_ignored(&kea, &client, &ack);
        service.answer(answer);
        wait_until("the end of the back-off", || {
            client.send_renewal(&ack);
            client.reply_within(Duration::from_secs(1)).is_some_and(|renewed| {
                assert_eq!((renewed.kind(), renewed.address()), (MessageType::Ack, OUT_OF_POOL));
                true
            })
        });
        assert!(kea.stop().status.success());
    });
}

#[test]
fn addresses_survive_a_restart_while_the_service_is_down() {
    in_both_modes(|threads| {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("answers");
        let mut service = Service::scripted(saying(&[(1, given(OUT_OF_POOL)), (2, given(FIRST))]));
        let setup = || in_small_pool(setup_with(threads, &service, json!({"cache-file": file})));
        let kea = setup().start();
        for (number, address) in [(1, OUT_OF_POOL), (2, FIRST)] {
            assert_gets(&client(&kea, number), address);
        }
        kea.stop().assert_clean();

        // The new server knows no lease.
        let setup = setup();
        service.stop();
        let kea = setup.start();
        kea.logged(&["REMOPTS_CACHE_FILE_READ", "2 kept answers"]);
        assert_counts(&kea, 0, 0, 2);
        let stranger = kea.client();
        assert_eq!(stranger.discover_address(FIRST).address(), SECOND);
        for (number, address) in [(1, OUT_OF_POOL), (2, FIRST)] {
            let client = client(&kea, number);
            let ack = assert_gets(&client, address);
            assert_eq!(ack.chain().as_deref(), Some("somestring"));
            assert_renews(&client, &ack);
        }
        assert!(kea.stop().status.success());
    });
}

/// What an operator inserts serves like an answer of the service.
#[test]
fn an_answer_that_an_operator_inserts_gives_an_address() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[]));
        let kea = setup(threads, &service).start();
        let arguments = json!({
            "sub-options": {"1": "00000001"},
            "answer": {"ip-address": IN_POOL, "224": about(1)},
            "fresh-for": 600,
        });
        let inserted = kea.command_with("remote-opts-cache-insert", arguments).unwrap();
        assert_eq!(inserted["result"], 0, "{inserted}");
        let stranger = kea.client();
        assert_ne!(stranger.discover_address(IN_POOL).address(), IN_POOL);
        let ack = assert_gets(&client(&kea, 1), IN_POOL);
        assert_eq!(ack.chain(), Some(about(1)));
        assert_counts(&kea, 2, 0, 1);
        // Kept answers that are gone reserve nothing.
        kea.command("remote-opts-cache-clear").unwrap();
        assert_counts(&kea, 2, 0, 0);
        kea.stop().assert_clean();
    });
}
