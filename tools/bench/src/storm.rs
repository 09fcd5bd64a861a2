// SPDX-License-Identifier: MPL-2.0
//! The storm: machines that power on within a second, with the settings that Kea and the hook have
//! by default. Each machine must get its own answer in OFFER and ACK, for one request. How long the
//! storm takes is reported, and no error.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::measure::Bench;
use crate::service::Service;
use remote_opts_bench::results::{Storm, StormRound, curve};
use remote_opts_test_support::kea::{self, Setup, Threads};
use remote_opts_test_support::service::about;
use remote_opts_test_support::storm::power_on;

/// As many descriptors as systemd lets Debian's Kea open. This process opens more, for the service.
const KEA_DESCRIPTORS: u32 = 1024;

/// One storm.
struct Case {
    name: String,
    /// How long the service takes; `None`: there is no hook.
    delay: Option<Duration>,
    /// The hook's parameters besides `url`.
    parameters: Value,
    /// Whether Kea has a parking place for each packet.
    parking_places: bool,
    /// Whether the service went down after an earlier storm.
    service_is_down: bool,
}

fn cases() -> Vec<Case> {
    // A Kea that cannot park would have a thread wait for each machine.
    let (setting, parameters) = if kea::parks() {
        ("", json!({}))
    } else {
        (", on-miss retry", json!({ "on-miss": "retry" }))
    };
    let case = |name: String, delay: u64| Case {
        name: name + setting,
        delay: Some(Duration::from_millis(delay)),
        parameters: parameters.clone(),
        parking_places: false,
        service_is_down: false,
    };
    let mut all = vec![Case { name: "Kea alone".to_owned(), delay: None, ..case("".into(), 0) }];
    all.extend([0, 100, 500].map(|delay| case(format!("service {delay} ms"), delay)));
    if kea::parks() {
        all.extend([0, 100, 500].map(|delay| Case {
            parking_places: true,
            ..case(format!("service {delay} ms, 20,000 parking places"), delay)
        }));
        // Half of the machines wait for their answers at the same time: by default there are not as
        // many requests at once, nor as many descriptors for HTTP/1.1.
        all.push(Case {
            parameters: json!({ "http2": true, "max-in-flight": 10_000 }),
            parking_places: true,
            ..case(
                "service 500 ms, 20,000 parking places, max-in-flight 10,000, HTTP/2".into(),
                500,
            )
        });
    }
    all.push(Case { service_is_down: true, ..case("service down, answers kept".to_owned(), 0) });
    all
}

/// Powers the machines on for each case whose name contains `only`, as often as `bench` has rounds.
/// Also returns what went wrong: a machine lacked its own answer, or there was not one request for
/// each machine.
pub fn measure(bench: &Bench, machines: u32, only: &str) -> Result<(Vec<Storm>, Vec<String>)> {
    let cases: Vec<_> = cases().into_iter().filter(|case| case.name.contains(only)).collect();
    ensure!(!cases.is_empty(), "no storm has {only:?} in its name");
    let storm = |case: &Case| Storm {
        name: case.name.clone(),
        is_drawn: !case.parking_places,
        machines,
        rounds: Vec::new(),
    };
    let mut storms: Vec<_> = cases.iter().map(storm).collect();
    let mut failures = Vec::new();
    for round in 0..bench.rounds {
        for (storm, case) in storms.iter_mut().zip(&cases) {
            let named = format!("{}  storm  {:44}", bench.round(round), case.name);
            bench.say(&named, false);
            let outcome = case.run(machines, &mut failures)?;
            let took = outcome.curve.last().unwrap_or(&0.0);
            bench.say(&format!("{named}  {} bound, {took:.2} s", outcome.bound), true);
            storm.rounds.push(outcome);
        }
    }
    Ok((storms, failures))
}

impl Case {
    /// Runs the storm, and adds what went wrong to `failures`.
    fn run(&self, machines: u32, failures: &mut Vec<String>) -> Result<StormRound> {
        let mut setup = Setup::new(Threads::Four)
            .quiet()
            .by_default("multi-threading")
            .under(&["prlimit", &format!("--nofile={KEA_DESCRIPTORS}:")]);
        if self.parking_places {
            setup = setup.set("parked-packet-limit", json!(20_000));
        }
        // Answers of an earlier storm are stale in the next. All others outlive their storm, also on
        // a busy machine, which takes longer than the ten seconds of `cache-ttl`.
        let fresh = if self.service_is_down { "max-age=0" } else { "max-age=600" };
        let service = self.delay.map(|delay| Service::echo(delay, fresh)).transpose()?;
        if let Some(service) = &service {
            let mut parameters = self.parameters.clone();
            parameters["url"] = service.url().into();
            setup = setup.hook_as_given(parameters);
        }
        let kea = setup.try_start()?;
        let mut fail = |what: String| failures.push(format!("{}: {what}", self.name));
        let mut storm = || {
            let storm = power_on(&kea, machines, |number| self.delay.map(|_| about(number)));
            if let Some(first) = storm.failures.first() {
                let number = storm.failures.len();
                fail(format!("{number} machines were not bound with their own answer: {first}"));
            }
            storm
        };
        let mut last = storm();
        let (asked, once) =
            service.as_ref().map_or((0, 0), |service| (service.asked(), service.asked_once()));
        let mut requests = asked;
        let wanted = if self.delay.is_some() { machines as usize } else { 0 };
        if self.service_is_down {
            drop(service);
            last = storm();
            requests = 0;
        } else if (asked, once) != (wanted, wanted) {
            fail(format!("{asked} requests, one each for {once} machines"));
        }
        let end = kea.stop();
        ensure!(end.status.success(), "kea-dhcp4 ended with {}", end.status);
        Ok(StormRound {
            bound: last.bound.len(),
            curve: curve(&last.bound, machines),
            discovers: last.discovers,
            requests,
        })
    }
}
