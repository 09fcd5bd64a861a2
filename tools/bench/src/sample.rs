// SPDX-License-Identifier: MPL-2.0
//! Results for the tests of tables and plots.

use crate::results::{Case, Cost, Fixed, Machine, Memory, Results, Storm, StormRound, Times};

/// A case of three rounds, whose processor times are these.
fn case(name: &str, beside: Option<&str>, microseconds: [f64; 3]) -> Case {
    let ack = Times { p50: Some(0.2), p99: Some(0.9), p999: Some(2.0) };
    let fixed = |(microseconds, p999)| Fixed {
        rate: 2500.0,
        microseconds,
        offer: Times { p50: Some(0.3), p99: Some(1.5), p999 },
        ack,
    };
    let p999 = [Some(4.0), Some(4.0), None];
    Case {
        name: name.to_owned(),
        is_main: true,
        beside: beside.map(str::to_owned),
        threads: 2,
        fixed: microseconds.into_iter().zip(p999).map(fixed).collect(),
        rates: vec![if beside.is_some() { 3000.0 } else { 6000.0 }; 3],
    }
}

/// A run with one case of the hook's.
pub fn results() -> Results {
    let mut hidden = case("empty library again", None, [150.0; 3]);
    (hidden.is_main, hidden.rates) = (false, Vec::new());
    let text = str::to_owned;
    Results {
        date: text("2026-12-01"),
        kea: text("2.6.3"),
        hook: text("0.1.0"),
        commit: text("0123456"),
        machine: Machine {
            processor: text("a processor"),
            cores: 2,
            memory_gib: 24,
            system: text("a system"),
            kernel: text("6.1"),
        },
        rounds: 3,
        seconds: 2.0,
        load: 2500.0,
        cases: vec![
            case("empty library", None, [100.0, 200.0, 300.0]),
            case("answer kept", Some("empty library"), [200.0, 400.0, 300.0]),
            hidden,
        ],
        instructions: [("empty library", 200_000.0), ("answer kept", 210_000.0)]
            .map(|(name, each)| Cost { name: text(name), instructions: vec![each] })
            .into(),
        memory: vec![Memory { name: text("hook, no clients"), mib: vec![26.0, 27.0, 25.0] }],
        storm: [("service 100 ms", true), ("service 100 ms, parking places", false)]
            .map(|(name, is_drawn)| Storm {
                name: text(name),
                is_drawn,
                machines: 200,
                rounds: vec![StormRound {
                    bound: 199,
                    curve: (1..100).map(|point| f64::from(point) / 10.0).collect(),
                    discovers: 300,
                    requests: 200,
                }],
            })
            .into(),
    }
}
