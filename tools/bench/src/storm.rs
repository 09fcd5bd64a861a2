// SPDX-License-Identifier: MPL-2.0
//! `make storm`: machines that power on within a second, with the settings that Kea and the hook
//! have by default. Each machine must get its own answer in OFFER and ACK, for one request. How
//! long the storm takes is reported, and no error.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::service::Service;
use crate::{machine, output, program_path, raise_descriptor_limit};
use remote_opts_bench::results::table;
use remote_opts_test_support::kea::{self, Setup, Threads};
use remote_opts_test_support::service::about;
use remote_opts_test_support::storm::{Storm, power_on};

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
    /// How long the storm may take.
    limit: Option<Duration>,
}

/// What became of a storm.
struct Outcome {
    storm: Storm,
    /// How many requests the service got in the storm.
    requests: usize,
    /// What a storm must not do.
    failures: Vec<String>,
}

impl Outcome {
    /// How long it took until all machines were bound; for ever where one was not.
    fn took(&self, machines: u32) -> Duration {
        let all = self.storm.bound.len() == machines as usize;
        self.storm.bound.last().copied().filter(|_| all).unwrap_or(Duration::MAX)
    }
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
        limit: Some(Duration::from_secs(6)),
    };
    let mut all =
        vec![Case { name: "Kea alone".to_owned(), delay: None, limit: None, ..case("".into(), 0) }];
    all.extend([0, 100, 500].map(|delay| case(format!("service {delay} ms"), delay)));
    if kea::parks() {
        all.extend([0, 100, 500].map(|delay| Case {
            parking_places: true,
            limit: Some(Duration::from_millis(1200 + delay)),
            ..case(format!("service {delay} ms, 20,000 parking places"), delay)
        }));
        // Half of the machines wait for their answers at the same time: by default there are not as
        // many requests at once, nor as many descriptors for HTTP/1.1.
        all.push(Case {
            parameters: json!({ "http2": true, "max-in-flight": 10_000 }),
            parking_places: true,
            limit: Some(Duration::from_millis(1700)),
            ..case(
                "service 500 ms, 20,000 parking places, max-in-flight 10,000, HTTP/2".into(),
                500,
            )
        });
    }
    let down = Case {
        service_is_down: true,
        limit: None,
        ..case("service down, answers kept".to_owned(), 0)
    };
    all.push(down);
    all
}

/// Runs the storms whose name contains `only`, `rounds` times, and prints a table. The error says
/// that a machine lacked its own answer, or that there was not one request for each.
pub fn run(machines: u32, rounds: usize, only: &str, commit: &str) -> Result<()> {
    raise_descriptor_limit()?;
    let head = ["case", "bound with their answer", "all within s", "limit s", "median s", "p99 s"];
    let more = ["DISCOVERs each", "HTTP requests"];
    let mut rows = vec![head.into_iter().chain(more).map(str::to_owned).collect::<Vec<_>>()];
    let mut failures = Vec::new();
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        eprintln!("{}", case.name);
        let mut outcomes = Vec::new();
        for _ in 0..rounds {
            outcomes.push(case.run(machines)?);
        }
        let of = outcomes.iter().flat_map(|outcome| &outcome.failures);
        failures.extend(of.map(|text| format!("{}: {text}", case.name)));
        rows.push(case.row(machines, outcomes));
    }
    ensure!(rows.len() > 1, "no case has this in its name");
    let machine = machine()?;
    let mut text = format!(
        "Kea {}, hook {} ({commit}), on {}: {machines} machines, {rounds} storms of each \
         case; {}, {} cores of {}.\n\n",
        output(&program_path("kea-dhcp4")?, &["-v"])?,
        env!("CARGO_PKG_VERSION"),
        output("date", &["+%Y-%m-%d"])?,
        machine.system,
        machine.cores,
        machine.processor,
    );
    table(&mut text, &rows);
    print!("{text}");
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

impl Case {
    fn run(&self, machines: u32) -> Result<Outcome> {
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
        let mut failures = Vec::new();
        let mut storm = || {
            let storm = power_on(&kea, machines, |number| self.delay.map(|_| about(number)));
            failures.extend(storm.failures.first().map(|first| {
                let number = storm.failures.len();
                format!("{number} machines were not bound with their own answer: {first}")
            }));
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
            failures.push(format!("{asked} requests, one each for {once} machines"));
        }
        let end = kea.stop();
        ensure!(end.status.success(), "kea-dhcp4 ended with {}", end.status);
        Ok(Outcome { storm: last, requests, failures })
    }

    /// The case's row of the table: the storm of median length, and how many met the limit.
    fn row(&self, machines: u32, mut outcomes: Vec<Outcome>) -> Vec<String> {
        outcomes.sort_by_key(|outcome| outcome.took(machines));
        let rounds = outcomes.len();
        let limit = self.limit.map_or("–".to_owned(), |limit| {
            let met = outcomes.iter().filter(|outcome| outcome.took(machines) <= limit).count();
            format!("{:.1}, met by {met} of {rounds}", limit.as_secs_f64())
        });
        let middle = &outcomes[rounds / 2];
        let Outcome { storm, requests, .. } = middle;
        let seconds = |time: Option<Duration>| {
            time.map_or("–".to_owned(), |time| format!("{:.2}", time.as_secs_f64()))
        };
        // Of the machines that are bound, in the order of their ACKs.
        let part = |part: f64| storm.bound.get((storm.bound.len() as f64 * part) as usize).copied();
        let all = Some(middle.took(machines)).filter(|took| *took < Duration::MAX);
        vec![
            self.name.clone(),
            format!("{}", machines as usize - storm.failures.len()),
            seconds(all),
            limit,
            seconds(part(0.5)),
            seconds(part(0.99)),
            format!("{:.2}", storm.discovers as f64 / f64::from(machines)),
            requests.to_string(),
        ]
    }
}
