// SPDX-License-Identifier: MPL-2.0
//! Many machines that power on within a second: every machine gets its own answer, in OFFER and
//! ACK, for one request. The machines ask again as RFC 2131 says, and some have to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{about, in_both_modes, size};
use remote_opts_test_support::kea::{self, Kea, Setup, Threads};
use remote_opts_test_support::load;
use remote_opts_test_support::service::{Service, echo};
use remote_opts_test_support::storm;

/// The time of a lookup, in milliseconds: a busy machine needs more than ten seconds.
const TIMEOUT: u32 = 60_000;

/// How many machines power on. `make storm` has five times as many.
fn machines() -> u32 {
    size("REMOPTS_STORM", 1000)
}

/// Powers the machines on. Each must be bound with its own answer. `named` names the storm in the
/// output.
fn power_on(kea: &Kea, named: &str) {
    let storm = storm::power_on(kea, machines(), |number| Some(about(number)));
    assert!(storm.failures.is_empty(), "{named}: {:#?}", storm.failures);
    let took = storm.bound.last().expect("a machine");
    println!("{named}: {} machines bound in {took:.1?}", machines());
}

/// A storm with the parking places and the concurrency limit that Kea and the library have by
/// default, and with `parameters`. A busy machine gets more time: lookups are not late, and an
/// answer is fresh until the last machine is bound.
fn storm(threads: Threads, delay: Duration, parameters: Value) {
    let service = Service::scripted(move |request| echo(request).after(delay));
    let mut all = json!({"url": service.url("/"), "cache-ttl": 600, "timeout": TIMEOUT});
    all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
    let kea = Setup::new(threads).quiet().hook(all).start();
    power_on(&kea, &format!("{threads:?}, {delay:?}"));
    let mut targets = service.targets();
    targets.sort_unstable();
    let wanted: Vec<_> = (0..machines()).map(about).collect();
    let differing = targets.iter().zip(&wanted).find(|(one, other)| one != other);
    assert_eq!((targets.len(), differing), (wanted.len(), None), "one request for each machine");
    assert_eq!(kea.count("DHCP4_PACKET_NAK_0001"), 0, "Kea met its own limit");
    assert!(kea.stop().status.success());
}

#[test]
fn every_machine_that_powers_on_gets_its_own_answer() {
    let _turn = load::turn();
    for delay in [0, 100, 500].map(Duration::from_millis) {
        in_both_modes(|threads| {
            // A Kea that cannot park would have a thread wait for each machine.
            let on_miss = if kea::parks() { "wait" } else { "retry" };
            storm(threads, delay, json!({"on-miss": on_miss}));
        });
    }
}

/// With the service down, machines with kept answers boot as ever.
#[test]
fn every_machine_that_has_had_an_answer_gets_it_while_the_service_is_down() {
    let _turn = load::turn();
    in_both_modes(|threads| {
        let mut service = Service::echo();
        let url = service.url("/");
        let parameters = json!({
            "url": url, "cache-ttl": 0, "on-miss": "retry", "timeout": TIMEOUT,
        });
        let kea = Setup::new(threads).quiet().hook(parameters).start();
        power_on(&kea, &format!("{threads:?}"));
        service.stop();
        power_on(&kea, &format!("{threads:?}, service down"));
        assert!(kea.stop().status.success());
    });
}
