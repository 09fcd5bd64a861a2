// SPDX-License-Identifier: MPL-2.0
//! Kea looks for a client's reservation in the way that its configuration says: by these
//! identifiers, in the subnet or for all subnets, in pools or not. The service's address is found in
//! each way.

use serde_json::{Value, json};

use super::{
    ANOTHER, BAD_PACKETS, FIRST, IN_POOL, OUT_OF_POOL, SECOND, assert_counts, assert_gets,
    assert_gets_dynamic, assert_ignored, assert_not_given, assert_refused, assert_renews, client,
    in_small_pool, saying, setup,
};
use crate::in_both_modes;
use remote_opts_test_support::dhcp::Client;
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::service::{Answer, Service};

/// Option 61 that carries the DUID "duid" (RFC 4361).
const DUID: &[u8] = b"\xff\0\0\0\x01duid";

/// A server with these entries in its configuration, and a client that it can name in each way. The
/// service gives the client this address.
fn start(threads: Threads, service: &Service, entries: &Value) -> (Kea, Client) {
    let entries = entries.as_object().expect("entries").clone();
    let set = |setup: Setup, (name, value): (String, Value)| setup.set(&name, value);
    let kea = entries.into_iter().fold(setup(threads, service), set).start();
    let client = client(&kea, 1).with(61, DUID);
    (kea, client)
}

fn answer() -> Value {
    json!({"ip-address": OUT_OF_POOL, "hostname": "node7", "options": {"224": "somestring"}})
}

#[test]
fn the_address_is_found_in_every_way_in_which_kea_looks_for_it() {
    in_both_modes(|threads| {
        let by = |identifier: &str| json!({"host-reservation-identifiers": [identifier]});
        for entries in [
            by("hw-address"),
            by("circuit-id"),
            by("client-id"),
            by("duid"),
            json!({"host-reservation-identifiers": ["flex-id", "client-id", "circuit-id"]}),
            json!({"reservations-global": true, "reservations-in-subnet": true}),
            json!({"reservations-global": true, "reservations-in-subnet": false}),
            json!({"reservations-out-of-pool": true}),
            json!({"ip-reservations-unique": false}),
            json!({"reservations-lookup-first": true}),
            json!({"match-client-id": false}),
        ] {
            println!("{entries}");
            let service = Service::scripted(saying(&[(1, answer())]));
            let (kea, client) = start(threads, &service, &entries);
            let ack = assert_gets(&client, OUT_OF_POOL);
            assert_eq!(ack.option(12).as_deref(), Some(&b"node7"[..]), "{entries}");
            assert_renews(&client, &ack);
            assert_gets_dynamic(&super::client(&kea, 2), &[]);
            assert_counts(&kea, 3, 0, 1);
            kea.stop().assert_clean();
        }
    });
}

/// Kea looks for no address there, and the rest of the answer is not touched.
/// Two switches have a port of the same name. While Kea works on the packets of one client, the other
/// one is no part of its reservation.
#[test]
fn clients_with_the_same_circuit_id_do_not_share_an_address() {
    in_both_modes(|threads| {
        let behind = |switch: u8| vec![1, 1, 5, 2, 1, switch];
        let service = Service::scripted(|request| {
            if request.target.contains("sub82_2=01") {
                Answer::json(answer())
            } else {
                Answer::status(404, "")
            }
        });
        let kea = setup(threads, &service).start();
        let owners = (0..20).map(|_| kea.client().with(82, behind(1))).collect::<Vec<_>>();
        let others = (0..20).map(|_| kea.client().with(82, behind(2))).collect::<Vec<_>>();
        for (owner, other) in owners.iter().zip(&others) {
            owner.send_discover();
            other.send_discover();
        }
        for other in &others {
            let offer = other.reply("DISCOVER");
            assert_ne!(offer.address(), OUT_OF_POOL);
            assert_eq!(offer.option(12), None);
        }
        assert!(kea.stop().status.success());
    });
}

#[test]
fn where_kea_looks_for_no_reservation_a_line_says_that_the_address_is_not_given() {
    in_both_modes(|threads| {
        for (entries, address) in [
            (json!({"reservations-in-subnet": false, "reservations-global": false}), OUT_OF_POOL),
            (json!({"reservations-out-of-pool": true}), IN_POOL),
            // No library makes such an identifier.
            (json!({"host-reservation-identifiers": ["flex-id"]}), OUT_OF_POOL),
            // Kea looks for it before the service is asked.
            (
                json!({
                    "reservations-in-subnet": false,
                    "reservations-global": true,
                    "early-global-reservations-lookup": true,
                }),
                OUT_OF_POOL,
            ),
        ] {
            println!("{entries}");
            let mut answer = answer();
            answer["ip-address"] = json!(address);
            let service = Service::scripted(saying(&[(1, answer)]));
            let (kea, client) = start(threads, &service, &entries);
            let ack = assert_gets_dynamic(&client, &[address]);
            assert_eq!(ack.chain().as_deref(), Some("somestring"), "{entries}");
            assert_not_given(&kea, &client, address, ack.address());
            assert_renews(&client, &ack);
            assert!(kea.stop().status.success());
        }
    });
}

#[test]
fn an_address_is_kept_from_strangers_also_where_addresses_need_not_be_unique() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, json!({"ip-address": FIRST}))]));
        let setup = in_small_pool(setup(threads, &service));
        let kea = setup.set("ip-reservations-unique", json!(false)).start();
        let owner = client(&kea, 1);
        assert_eq!(owner.discover().address(), FIRST);
        assert_eq!(kea.client().discover_address(FIRST).address(), SECOND);
        assert_gets(&owner, FIRST);
        kea.stop().assert_clean();
    });
}

/// Kea's library flex_id names clients by an expression. The hook may stand before it or after it.
#[test]
fn the_library_flex_id_may_name_the_client() {
    if !kea::has_libraries_of_identifiers() {
        println!("this Kea comes without the library flex_id");
        return;
    }
    in_both_modes(|threads| {
        for is_first in [true, false] {
            let service = Service::scripted(saying(&[(1, answer())]));
            let parameters = json!({"identifier-expression": "relay4[1].hex"});
            let flex_id = |setup: Setup| setup.packaged("libdhcp_flex_id.so", parameters.clone());
            let hook = |setup: Setup| setup.hook(json!({"url": service.url("/"), "cache-ttl": 0}));
            let setup = super::without_hook(threads)
                .set("host-reservation-identifiers", json!(["flex-id"]));
            let setup = if is_first { hook(flex_id(setup)) } else { flex_id(hook(setup)) };
            // A reservation of the configuration, by the same expression.
            let configured = json!({"flex-id": "00000009", "ip-address": ANOTHER});
            let subnet = super::subnet(json!({"reservations": [configured]}));
            let kea = setup.set("subnet4", json!([subnet])).start();
            let client = super::client(&kea, 1);
            let ack = assert_gets(&client, OUT_OF_POOL);
            assert_renews(&client, &ack);
            assert_gets(&super::client(&kea, 9), ANOTHER);
            kea.stop().assert_clean();
        }
    });
}

/// Kea's library host_cache keeps what host data sources say.
#[test]
fn the_library_host_cache_keeps_no_address_of_the_service() {
    if !kea::has_libraries_of_identifiers() {
        println!("this Kea comes without the library host_cache");
        return;
    }
    in_both_modes(|threads| {
        for is_first in [true, false] {
            let given = |address| saying(&[(1, json!({"ip-address": address}))]);
            let service = Service::scripted(given(OUT_OF_POOL));
            let cache =
                |setup: Setup| setup.packaged("libdhcp_host_cache.so", json!({"maximum": 1000}));
            let hook = |setup: Setup| setup.hook(json!({"url": service.url("/"), "cache-ttl": 0}));
            let setup = super::without_hook(threads).debug(BAD_PACKETS);
            let kea = if is_first { hook(cache(setup)) } else { cache(hook(setup)) }.start();
            let client = client(&kea, 1);
            let ack = assert_gets(&client, OUT_OF_POOL);
            assert_renews(&client, &ack);
            service.script(given(ANOTHER));
            assert_refused(&client, &ack);
            let ack = assert_gets(&client, ANOTHER);
            service.script(saying(&[]));
            assert_ignored(&kea, &client, &ack);
            assert_gets_dynamic(&client, &[]);
            kea.stop().assert_clean();
        }
    });
}
