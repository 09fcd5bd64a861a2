// SPDX-License-Identifier: MPL-2.0
//! Many clients at once, with addresses of the service and without.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::is_dynamic;
use crate::{about, in_both_modes, on_miss_for_many, size};
use remote_opts_test_support::kea::Setup;
use remote_opts_test_support::load;
use remote_opts_test_support::service::{Answer, Service};
use remote_opts_test_support::storm;

/// The address of the machine of this number. No pool has it, and there is room for 1,000.
fn address(number: u32) -> Ipv4Addr {
    (u32::from(Ipv4Addr::new(10, 77, 251, 1)) + number).into()
}

/// The machines with an even number have an address of their own.
fn has_address(number: u32) -> bool {
    number % 2 == 0
}

/// The parameters of a server that so many clients are no load for: lookups are not late on a busy
/// machine, and an answer is fresh until the last machine is bound.
fn parameters(service: &Service) -> Value {
    json!({
        "url": service.url("/"),
        "timeout": 60_000,
        "cache-ttl": 600,
        "on-miss": on_miss_for_many(),
    })
}

#[test]
fn each_of_many_clients_has_the_address_that_is_meant_for_it() {
    /// Half of them with an address of their own.
    const MOST: u32 = 2000;
    let machines = size("REMOPTS_CROWD", MOST).min(MOST);
    let _turn = load::turn();
    in_both_modes(|threads| {
        let service = Service::scripted(|request| {
            let number = request.target.rsplit_once('=').expect("a sub-option").1;
            let number = u32::from_str_radix(number, 16).expect("a number of a port");
            let mut answer = json!({"options": {"224": request.target}});
            if has_address(number) {
                answer["ip-address"] = json!(address(number / 2));
            }
            Answer::text(answer.to_string())
        });
        let parameters = parameters(&service);
        let kea = Setup::new(threads).quiet().hook(parameters).start();
        let storm = storm::power_on(&kea, machines, |number| Some(about(number)));
        assert!(storm.failures.is_empty(), "{:#?}", storm.failures);
        let mut seen = HashSet::new();
        for (number, got) in (0..).zip(&storm.addresses) {
            let got = got.expect("an ACK");
            assert!(seen.insert(got), "machine {number} has {got}, which another one has, too");
            if has_address(number) {
                assert_eq!(got, address(number / 2), "machine {number}");
            } else {
                assert!(is_dynamic(got), "machine {number} has {got}");
            }
        }
        let kept = kea.statistic("remote-opts-addresses-kept");
        assert_eq!(kept, Some(i64::from(machines.div_ceil(2))));
        assert_eq!(kea.statistic("remote-opts-addresses-not-given"), Some(0));
        assert_eq!(kea.count("ADDRESS_CONFLICT"), 0, "Kea met an address twice");
        assert!(kea.stop().status.success());
    });
}

/// Every client has its address in the only pool, which strangers want at the same time.
#[test]
fn no_stranger_has_an_address_of_the_pool_that_is_kept_for_another_client() {
    const OWNERS: u32 = 100;
    let _turn = load::turn();
    in_both_modes(|threads| {
        let own = |number: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 0, 0)) + number);
        let service = Service::scripted(move |request| {
            let number = request.target.rsplit_once('=').expect("a sub-option").1;
            let number = u32::from_str_radix(number, 16).expect("a number of a port");
            let mut answer = json!({"options": {"224": request.target}});
            if number < OWNERS {
                answer["ip-address"] = json!(own(2 * number + 10));
            }
            Answer::text(answer.to_string())
        });
        // Two addresses for each owner: its own one, and one for a stranger.
        let pool = format!("{}-{}", own(10), own(2 * OWNERS + 9));
        let subnet = super::subnet(json!({"pools": [{"pool": pool}]}));
        let parameters = parameters(&service);
        let kea =
            Setup::new(threads).quiet().set("subnet4", json!([subnet])).hook(parameters).start();
        // Before it boots, each owner is heard of.
        for number in 0..OWNERS {
            let owner = super::client(&kea, number);
            crate::assert_answered_at_last(&owner, number);
        }
        let storm = storm::power_on(&kea, 2 * OWNERS, |number| Some(about(number)));
        assert!(storm.failures.is_empty(), "{:#?}", storm.failures);
        let addresses: Vec<_> =
            storm.addresses.iter().map(|address| address.expect("an ACK")).collect();
        for (number, got) in (0..OWNERS).zip(&addresses) {
            assert_eq!(*got, own(2 * number + 10), "machine {number}");
        }
        assert_eq!(addresses.iter().collect::<HashSet<_>>().len(), addresses.len());
        assert!(kea.stop().status.success());
    });
}
