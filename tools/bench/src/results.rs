// SPDX-License-Identifier: MPL-2.0
//! What a benchmark found, kept as JSON, and the medians and ratios of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One run of the benchmark, with one version of Kea.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Day of the run.
    pub date: String,
    /// Version of Kea.
    pub kea: String,
    /// Version of the hook.
    pub hook: String,
    /// The commit that was measured. A `+` follows when the tree had changes.
    pub commit: String,
    /// The machine of the run.
    pub machine: Machine,
    /// How often everything was measured.
    pub rounds: usize,
    /// How long each rate was tried, and how long one turn at the fixed load took, in seconds.
    pub seconds: f64,
    /// The fixed load, in exchanges a second.
    pub load: f64,
    /// One entry for each case.
    pub cases: Vec<Case>,
    /// Kea's instructions for one packet from a client, in some of the cases.
    pub instructions: Vec<Cost>,
    /// Kea's memory.
    pub memory: Vec<Memory>,
    /// Machines that power on within a second.
    pub storm: Vec<Storm>,
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Number of cores.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Name and version of the operating system.
    pub system: String,
    /// Release of the Linux kernel.
    pub kernel: String,
}

/// What was measured of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Name of the case.
    pub name: String,
    /// Whether this is one of the main cases: `bench run --quick` measures these alone, and README.md
    /// shows them.
    pub is_main: bool,
    /// The name of the case without the hook beside which this case stands. `None` in a case without
    /// the hook.
    pub beside: Option<String>,
    /// Kea's packet threads.
    pub threads: usize,
    /// What was measured at a fixed load, one entry for each turn. A round has several.
    pub fixed: Vec<Fixed>,
    /// The highest rates at which at most one exchange in a hundred is lost, in exchanges
    /// (DISCOVER, OFFER, REQUEST, ACK) a second: one entry for each round. Empty where the case has
    /// none.
    pub rates: Vec<f64>,
}

/// One measurement at a fixed load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fixed {
    /// Exchanges begun in a second.
    pub rate: f64,
    /// Processor time of Kea's process for an exchange, in microseconds.
    pub microseconds: f64,
    /// From a DISCOVER to its OFFER.
    pub offer: Times,
    /// From a REQUEST to its ACK.
    pub ack: Times,
}

/// Percentiles in milliseconds. `None` where there were too few packets for the percentile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The median.
    pub p50: Option<f64>,
    /// 99 of 100 packets take at most this long.
    pub p99: Option<f64>,
    /// 999 of 1000 packets take at most this long.
    pub p999: Option<f64>,
}

/// Kea's instructions for one packet in one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Name of the case.
    pub name: String,
    /// Instructions for one packet, one entry for each round.
    pub instructions: Vec<f64>,
}

/// Kea's memory in one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Name of the case.
    pub name: String,
    /// MiB, one entry for each round.
    pub mib: Vec<f64>,
}

/// One case of the storm: machines that power on within a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// Name of the case.
    pub name: String,
    /// Whether the plot of the storm has a curve of this case.
    pub is_drawn: bool,
    /// How many machines power on.
    pub machines: u32,
    /// One entry for each round.
    pub rounds: Vec<StormRound>,
}

/// How one storm went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StormRound {
    /// How many machines were bound with their own answer in OFFER and ACK.
    pub bound: usize,
    /// Seconds from the first DISCOVER until one hundredth, two hundredths and so on of all machines
    /// were bound with their own answer. Shorter than 100 entries when some machines never were.
    pub curve: Vec<f64>,
    /// How many DISCOVERs the machines sent.
    pub discovers: usize,
    /// How many HTTP requests the service got.
    pub requests: usize,
}

impl Case {
    /// The fixed load of this case, in exchanges a second. A case whose threads wait for each answer
    /// has a lower one than the run.
    pub fn load(&self) -> Option<f64> {
        self.fixed.first().map(|one| one.rate)
    }

    /// The highest rate: the median of all rounds. `None` where the case has none.
    pub fn rate(&self) -> Option<f64> {
        (!self.rates.is_empty()).then(|| median(self.rates.iter().copied()))
    }

    /// Processor time for an exchange in microseconds: the median of all turns.
    pub fn microseconds(&self) -> f64 {
        median(self.fixed.iter().map(|one| one.microseconds))
    }

    /// Percentiles of the replies that `of` chooses: the median of all turns.
    pub fn times(&self, of: fn(&Fixed) -> &Times) -> Times {
        let all = |which: fn(&Times) -> Option<f64>| {
            // A percentile that one turn lacks is not shown.
            let values: Option<Vec<_>> = self.fixed.iter().map(|one| which(of(one))).collect();
            values.filter(|values| !values.is_empty()).map(median)
        };
        Times {
            p50: all(|times| times.p50),
            p99: all(|times| times.p99),
            p999: all(|times| times.p999),
        }
    }
}

impl Results {
    /// The case of this name.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// The case without the hook whose processor time stands beside the one of `case`. `None` where
    /// the two had different loads: a Kea with little work needs more time for each exchange.
    pub fn beside(&self, case: &Case) -> Option<&Case> {
        let beside = self.case(case.beside.as_ref()?)?;
        (beside.load() == case.load()).then_some(beside)
    }

    /// Processor time with the hook, divided by the one of [`Results::beside`]: the median of the
    /// turns' ratios.
    pub fn cost_ratio(&self, case: &Case) -> Option<f64> {
        let turns = case.fixed.iter().zip(&self.beside(case)?.fixed);
        Some(median(turns.map(|(one, other)| one.microseconds / other.microseconds)))
    }

    /// The highest rate with the hook, divided by the one of the case beside it: the median of the
    /// rounds' ratios. `None` in a case without the hook, and where a rate was not measured.
    pub fn rate_ratio(&self, case: &Case) -> Option<f64> {
        let beside = self.case(case.beside.as_ref()?)?;
        let rounds: Vec<_> =
            case.rates.iter().zip(&beside.rates).map(|(one, other)| one / other).collect();
        (!rounds.is_empty()).then(|| median(rounds))
    }

    /// Kea and its version.
    pub fn title(&self) -> String {
        format!("Kea {}", self.kea)
    }
}

impl Storm {
    /// The storm of median length among the rounds.
    pub fn middle(&self) -> Option<&StormRound> {
        let mut rounds: Vec<_> = self.rounds.iter().collect();
        rounds.sort_by(|one, other| one.took().total_cmp(&other.took()));
        rounds.get(rounds.len() / 2).copied()
    }
}

impl StormRound {
    /// Seconds until this part of all machines, in hundredths, was bound with their own answer.
    pub fn after(&self, hundredths: usize) -> Option<f64> {
        self.curve.get(hundredths.checked_sub(1)?).copied()
    }

    /// Seconds until all machines were bound; infinite where one was not.
    fn took(&self) -> f64 {
        self.after(100).unwrap_or(f64::INFINITY)
    }
}

/// The [curve](StormRound::curve) of a storm. `bound` has the time of each machine that was bound,
/// in order.
pub fn curve(bound: &[Duration], machines: u32) -> Vec<f64> {
    let times = (1..=100).map_while(|hundredths| {
        let count = (machines as usize * hundredths).div_ceil(100);
        Some(bound.get(count.checked_sub(1)?)?.as_millis() as f64 / 1000.0)
    });
    times.collect()
}

/// The median; NaN of no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// Writes the results of a run to a file, as JSON.
pub fn write(results: &Results, file: &Path) -> Result<()> {
    Ok(fs::write(file, serde_json::to_string_pretty(results)? + "\n")?)
}

/// Reads the results that [`write()`] wrote to these files.
pub fn read(files: &[PathBuf]) -> Result<Vec<Results>> {
    let read = |file: &PathBuf| -> Result<Results> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn ratios_are_those_of_the_turns_and_rounds() {
        let mut results = sample::results();
        let ratios = |results: &Results| {
            let case = results.case("answer kept").unwrap();
            (results.cost_ratio(case), results.rate_ratio(case))
        };
        // The ratio of the medians would be 300 / 200.
        assert_eq!(ratios(&results), (Some(2.0), Some(0.5)));
        assert_eq!(results.cost_ratio(results.case("empty library").unwrap()), None);
        results.cases[1].fixed.iter_mut().for_each(|one| one.rate = 10.0);
        assert_eq!(ratios(&results), (None, Some(0.5)), "another load");
        results.cases[1].rates.clear();
        assert_eq!(ratios(&results).1, None);
    }

    #[test]
    fn a_percentile_that_one_turn_lacks_is_not_shown() {
        let case = &sample::results().cases[1];
        let Times { p50, p99, p999 } = case.times(|one| &one.offer);
        assert_eq!((p50, p99, p999), (Some(0.3), Some(1.5), None));
    }

    #[test]
    fn a_curve_has_a_point_for_each_hundredth_of_all_machines() {
        let bound: Vec<_> = (1..=250).map(Duration::from_millis).collect();
        let all = curve(&bound, 250);
        assert_eq!((all.len(), all[0], all[1], all[99]), (100, 0.003, 0.005, 0.25));
        let half = curve(&bound, 500);
        assert_eq!((half.len(), half[49]), (50, 0.25));
        assert!(curve(&[], 500).is_empty() && curve(&[], 0).is_empty());
    }

    #[test]
    fn the_storm_of_median_length_is_shown() {
        let round = |took: f64, points: usize| StormRound {
            bound: points,
            curve: vec![took; points],
            discovers: 0,
            requests: 0,
        };
        let storm = |rounds: Vec<StormRound>| Storm {
            name: String::new(),
            is_drawn: true,
            machines: 100,
            rounds,
        };
        let took = |storm: &Storm| storm.middle().map(StormRound::took);
        // A storm in which a machine was never bound is longer than any other.
        let three = storm(vec![round(0.5, 99), round(2.0, 100), round(1.0, 100)]);
        assert_eq!(took(&three), Some(2.0));
        assert_eq!(took(&storm(vec![])), None);
        assert_eq!(three.rounds[0].after(99), Some(0.5));
        assert_eq!((three.rounds[0].after(100), three.rounds[0].after(0)), (None, None));
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let file = std::env::temp_dir().join(format!("bench-{}.json", std::process::id()));
        let results = sample::results();
        write(&results, &file).unwrap();
        let read = read(std::slice::from_ref(&file));
        fs::remove_file(file).unwrap();
        assert_eq!(read.unwrap(), [results]);
    }
}
