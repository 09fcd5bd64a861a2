// SPDX-License-Identifier: MPL-2.0
//! Tries schedules of each scenario in batches until the time is over, and says how a batch that
//! failed is run again.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use crate::scenarios::SCENARIOS;

/// The schedules of one batch. A batch that failed is run again in seconds.
const BATCH: usize = 250;

/// The seconds for all scenarios together where MODEL_SECONDS does not say.
const SECONDS: u64 = 60;

/// The changes of priority that the PCT scheduler makes in one schedule.
const CHANGES: usize = 3;

/// One batch: the scenario, how schedules are chosen, and the seed, as in MODEL_REPLAY.
struct Batch {
    scenario: usize,
    is_pct: bool,
    seed: u64,
}

impl Batch {
    fn name(&self) -> String {
        let scheduler = if self.is_pct { "pct" } else { "random" };
        format!("{}:{scheduler}:{}", SCENARIOS[self.scenario].name, self.seed)
    }

    /// Exactly the batch that [`Batch::name`] names.
    fn named(name: &str) -> Option<Self> {
        let [scenario, scheduler, seed] = name.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let scenario = SCENARIOS.iter().position(|known| known.name == scenario)?;
        let is_pct = match scheduler {
            "pct" => true,
            "random" => false,
            _ => return None,
        };
        Some(Batch { scenario, is_pct, seed: seed.parse().ok()? })
    }

    /// Runs the batch. Ends the program where a schedule fails.
    fn run(&self) -> usize {
        let run = || {
            // The jitter of back-offs.
            fastrand::seed(self.seed);
            let scenario = SCENARIOS[self.scenario].run;
            let mut config = Config::new();
            // The one line at the end says enough, and a batch is run again in seconds.
            config.silence_warnings = true;
            if self.is_pct {
                let scheduler = PctScheduler::new_from_seed(self.seed, CHANGES, BATCH);
                Runner::new(scheduler, config).run(scenario)
            } else {
                let scheduler = RandomScheduler::new_from_seed(self.seed, BATCH);
                Runner::new(scheduler, config).run(scenario)
            }
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            eprintln!("model: failed; the same again: make model MODEL_REPLAY={}", self.name());
            exit(1)
        })
    }
}

/// The value of an environment variable. Ends the program where the value is none.
fn given<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| {
        eprintln!("model: {name} is {value}, and must be a number");
        exit(2)
    }))
}

pub fn run() {
    if let Some(name) = given::<String>("MODEL_REPLAY") {
        let Some(batch) = Batch::named(&name) else {
            eprintln!("model: MODEL_REPLAY is {name}, and must be SCENARIO:random|pct:SEED");
            exit(2)
        };
        println!("model: {}: {} schedules", batch.name(), batch.run());
        return;
    }
    let seconds = given("MODEL_SECONDS").unwrap_or(SECONDS);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let mut seed = given("MODEL_SEED").unwrap_or_else(now);
    println!("model: seed {seed}, {seconds} seconds");
    for (number, scenario) in SCENARIOS.iter().enumerate() {
        let share = Duration::from_secs(seconds) / SCENARIOS.len() as u32;
        let (start, mut schedules) = (Instant::now(), [0, 0]);
        while start.elapsed() < share {
            for is_pct in [false, true] {
                seed += 1;
                let batch = Batch { scenario: number, is_pct, seed };
                schedules[usize::from(is_pct)] += batch.run();
            }
        }
        let [random, pct] = schedules;
        println!(
            "model: {}: {} held in {random} random schedules and {pct} of PCT",
            scenario.name, scenario.shows
        );
    }
}
