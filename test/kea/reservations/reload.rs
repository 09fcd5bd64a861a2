// SPDX-License-Identifier: MPL-2.0
//! Reloads, and configurations without the hook, while clients have addresses of the service.

use std::net::Ipv4Addr;

use serde_json::json;

use super::{
    IN_POOL, OUT_OF_POOL, assert_counts, assert_gets, assert_gets_dynamic, assert_ignored,
    assert_refused, assert_renews, client, saying, setup, subnet, without_hook,
};
use crate::{about, in_both_modes, port};
use remote_opts_test_support::load;
use remote_opts_test_support::service::{Answer, Service};

#[test]
fn kea_serves_on_without_the_hook_and_with_it_again() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[
            (1, json!({"ip-address": OUT_OF_POOL, "hostname": "node7"})),
            (2, json!({"ip-address": IN_POOL, "hostname": "node8"})),
        ]));
        let kea = setup(threads, &service).persistent_leases().start();
        let [outside, inside] = [1, 2].map(|number| client(&kea, number));
        let [ack_outside, ack_inside] =
            [assert_gets(&outside, OUT_OF_POOL), assert_gets(&inside, IN_POOL)];
        let with_hook = kea.configuration();
        let mut without_hook = with_hook.clone();
        let libraries = without_hook["Dhcp4"]["hooks-libraries"].as_array_mut().unwrap();
        // The commands about leases come first.
        libraries.truncate(1);
        for round in 0..3 {
            kea.set_configuration(without_hook.clone()).unwrap();
            // Nothing but the configuration decides.
            let lease = kea.lease(ack_inside.address());
            assert!(lease.is_some(), "the lease in the pool, round {round}");
            assert_renews(&inside, &ack_inside);
            assert_ignored(&kea, &outside, &ack_outside);
            let ack = assert_gets_dynamic(&outside, &[]);
            assert_eq!(ack.option(12), None);
            assert_renews(&outside, &ack);
            // Strangers may have what the service reserves.
            let stranger = kea.client();
            let wish = Ipv4Addr::new(10, 77, 200, 9);
            assert_eq!(stranger.discover_address(wish).address(), wish);

            kea.set_configuration(with_hook.clone()).unwrap();
            assert_renews(&inside, &ack_inside);
            assert_refused(&outside, &ack);
            let again = assert_gets(&outside, OUT_OF_POOL);
            assert_eq!(again.option(12).as_deref(), Some(&b"node7"[..]));
            kea.reload().unwrap();
            assert_renews(&outside, &again);
        }
        kea.stop().assert_clean();
    });
}

/// What one configuration keeps, the next one keeps from strangers, too.
#[test]
fn a_reload_forgets_no_address() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, json!({"ip-address": IN_POOL}))]));
        let kea = setup(threads, &service).start();
        let owner = client(&kea, 1);
        assert_eq!(owner.discover().address(), IN_POOL);
        for _ in 0..3 {
            kea.reload().unwrap();
            assert_ne!(kea.client().discover_address(IN_POOL).address(), IN_POOL);
            assert_counts(&kea, 1, 0, 1);
        }
        assert_gets(&owner, IN_POOL);
        kea.stop().assert_clean();
    });
}

/// A configuration that Kea only looks at changes nothing, be the configuration good or bad.
#[test]
fn a_configuration_that_is_tested_takes_no_address_away() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, json!({"ip-address": OUT_OF_POOL}))]));
        let kea = setup(threads, &service).start();
        let client = client(&kea, 1);
        let ack = assert_gets(&client, OUT_OF_POOL);
        let good = kea.configuration();
        let tested = kea.command_with("config-test", good.clone()).unwrap();
        assert_eq!(tested["result"], 0, "{tested}");
        assert_renews(&client, &ack);
        let mut bad = good;
        bad["Dhcp4"]["subnet4"] =
            json!([subnet(json!({"pools": [{"pool": "192.0.2.1-192.0.2.9"}]}))]);
        // (Kea 2.2 serves nobody any more after a `config-set` that it refuses.)
        let refused = kea.command_with("config-test", bad).unwrap();
        assert_eq!(refused["result"], 1, "{refused}");
        assert_renews(&client, &ack);
        assert_gets(&client, OUT_OF_POOL);
        kea.stop().assert_clean();
    });
}

#[test]
fn every_client_has_its_own_address_while_kea_is_reloaded() {
    const RELOADS: usize = 30;
    /// The address of the client behind the port of this number. No pool has it.
    fn address(number: u32) -> Ipv4Addr {
        (u32::from(Ipv4Addr::new(10, 77, 100, 0)) + number % 0x9000).into()
    }
    let _turn = load::turn();
    in_both_modes(|threads| {
        let service = Service::scripted(|request| {
            let number = request.target.strip_prefix(&about(0)[..about(0).len() - 8]);
            let number = number.and_then(|number| u32::from_str_radix(number, 16).ok());
            Answer::json(json!({"ip-address": address(number.expect("a port"))}))
        });
        let pools = json!([{"pool": "10.77.1.0-10.77.99.255"}]);
        let kea = setup(threads, &service)
            .quiet()
            .set("subnet4", json!([subnet(json!({"pools": pools}))]))
            .start();
        let exchanges = load::during(
            &kea,
            50,
            |number| kea.client().with(82, port(number)),
            |load| {
                for _ in 0..RELOADS {
                    kea.reload().unwrap();
                    load.wait_for_more(3);
                }
            },
        );
        for exchange in &exchanges {
            let acked = exchange.ack.address();
            assert_eq!(exchange.offer.address(), acked);
            assert!(acked.octets()[2] >= 100, "{acked}");
        }
        let mut addresses: Vec<_> =
            exchanges.iter().map(|exchange| exchange.ack.address()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), exchanges.len(), "an address twice");
        assert!(kea.stop().status.success());
    });
}

/// The hook leaves nothing behind in a server that goes on without it.
#[test]
fn a_server_without_the_hook_has_no_more_and_no_less_than_one_that_never_had_it() {
    in_both_modes(|threads| {
        let service = Service::scripted(saying(&[(1, json!({"ip-address": IN_POOL}))]));
        let kea = setup(threads, &service).start();
        assert_eq!(client(&kea, 1).discover().address(), IN_POOL);
        let mut configuration = kea.configuration();
        configuration["Dhcp4"]["hooks-libraries"].as_array_mut().unwrap().truncate(1);
        kea.set_configuration(configuration).unwrap();
        let never = without_hook(threads).start();
        for kea in [&kea, &never] {
            let stranger = kea.client();
            let ack = stranger.request(&stranger.discover_address(IN_POOL));
            assert_eq!(ack.address(), IN_POOL);
            assert_renews(&stranger, &ack);
        }
        kea.stop().assert_clean();
    });
}
