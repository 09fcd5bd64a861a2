// SPDX-License-Identifier: MPL-2.0
//! What a benchmark found: as JSON, as tables for documents, and as a program for gnuplot.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Begins the part of a document that this module writes.
pub const BEGIN: &str = "<!-- benchmark: begin -->";
/// Ends the part of a document that this module writes.
pub const END: &str = "<!-- benchmark: end -->";

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
    /// How long each rate was tried, in seconds.
    pub seconds: f64,
    /// Rates and latencies, one entry for each case.
    pub cases: Vec<Case>,
    /// Kea's instructions for one packet from a client: without a hook, refused by the filter,
    /// answer cached.
    pub instructions: Vec<Cost>,
    /// Kea's memory.
    pub memory: Vec<Memory>,
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

/// One case: Kea with the hook beside the same Kea without the hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Name of the case.
    pub name: String,
    /// Kea's packet threads.
    pub threads: usize,
    /// The highest rates, one entry for each round.
    pub rates: Vec<Rates>,
    /// The latencies at half of the median rate with the hook, one entry for each round.
    pub latency: Vec<Latency>,
}

/// The highest rates at which at most one exchange in a hundred is lost. The unit is exchanges
/// (DISCOVER, OFFER, REQUEST, ACK) a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Kea with the hook.
    pub with_hook: f64,
    /// Kea alone, measured before.
    pub before: f64,
    /// Kea alone, measured after.
    pub after: f64,
}

impl Rates {
    /// Kea alone: the mean of before and after.
    pub fn without(&self) -> f64 {
        (self.before + self.after) / 2.0
    }
}

/// How long replies take at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Exchanges begun in a second.
    pub rate: f64,
    /// Kea with the hook.
    pub with_hook: Replies,
    /// Kea alone.
    pub without: Replies,
}

/// How long the two replies of an exchange take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replies {
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

impl Case {
    /// The rate with the hook divided by the rate of Kea alone: the median of all rounds.
    pub fn ratio(&self) -> f64 {
        median(self.rates.iter().map(|rates| rates.with_hook / rates.without()))
    }

    /// The rate with the hook: the median of all rounds.
    pub fn rate(&self) -> f64 {
        median(self.rates.iter().map(|rates| rates.with_hook))
    }

    /// Percentiles of the replies that `of` chooses: the median of all rounds.
    fn times(&self, of: fn(&Latency) -> &Times) -> Times {
        let all = |which: fn(&Times) -> Option<f64>| {
            // A percentile that one round lacks is not shown.
            let values: Option<Vec<_>> = self.latency.iter().map(|one| which(of(one))).collect();
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
    /// The rate of Kea alone with this number of threads: the median of all cases and rounds.
    fn alone(&self, threads: usize) -> f64 {
        let cases = self.cases.iter().filter(|case| case.threads == threads);
        median(cases.flat_map(|case| &case.rates).map(Rates::without))
    }

    /// The name of a case. Names the number of threads too, where it differs from that of the first
    /// case.
    fn name_of(&self, case: &Case) -> String {
        match self.cases.first() {
            Some(first) if first.threads != case.threads => {
                let plural = if case.threads == 1 { "" } else { "s" };
                format!("{}, {} thread{plural}", case.name, case.threads)
            }
            _ => case.name.clone(),
        }
    }

    fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| self.name_of(case) == name)
    }

    fn title(&self) -> String {
        format!("Kea {}", self.kea)
    }
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

/// The documents that show results: the path of each, and the text between its marks.
pub fn documents(all: &[Results]) -> [(&'static str, String); 2] {
    [("README.md", summary(all)), ("docs/benchmark/README.md", tables(all))]
}

/// The rates of all runs in one table of Markdown.
fn summary(all: &[Results]) -> String {
    let mut head = vec!["rate beside Kea alone (exchanges/s)".to_owned()];
    head.extend(all.iter().map(Results::title));
    let mut rows = vec![head];
    let mut alone = vec!["Kea alone".to_owned()];
    alone.extend(all.iter().map(|results| {
        let threads = results.cases.first().map_or(0, |case| case.threads);
        format!("1 ({:.0})", results.alone(threads))
    }));
    rows.push(alone);
    for name in case_names(all) {
        let mut row = vec![name.clone()];
        row.extend(all.iter().map(|results| match results.case(&name) {
            Some(case) => format!("{} ({:.0})", ratio(case), case.rate()),
            None => "–".to_owned(),
        }));
        rows.push(row);
    }
    let mut text = String::new();
    table(&mut text, &rows);
    text
}

/// A ratio as text, with more digits where the ratio is very small.
fn ratio(case: &Case) -> String {
    match case.ratio() {
        ratio if ratio < 0.01 => format!("{ratio:.4}"),
        ratio => format!("{ratio:.2}"),
    }
}

/// The names of the cases of all runs, each name once.
fn case_names(all: &[Results]) -> Vec<String> {
    let mut names = Vec::new();
    for results in all {
        for case in &results.cases {
            let name = results.name_of(case);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// All results in tables of Markdown, which are readable as plain text too.
pub fn tables(all: &[Results]) -> String {
    let mut text = String::new();
    for results in all {
        let Machine { processor, cores, memory_gib, system, kernel } = &results.machine;
        let _ = writeln!(
            text,
            "Kea {}, hook {} ({}), on {}: medians of {}, trials of {} s; {system}, {cores} cores \
             of {processor}, {memory_gib} GiB, Linux {kernel}.\n",
            results.kea,
            results.hook,
            results.commit,
            results.date,
            if results.rounds == 1 {
                "1 round".to_owned()
            } else {
                format!("{} rounds", results.rounds)
            },
            results.seconds
        );
        let mut rows =
            vec![["case", "threads", "exchanges/s", "of Kea alone"].map(str::to_owned).to_vec()];
        for case in &results.cases {
            if rows.iter().all(|row| row[1] != case.threads.to_string()) {
                let alone = format!("{:.0}", results.alone(case.threads));
                rows.push(vec!["Kea alone".into(), case.threads.to_string(), alone, "1.00".into()]);
            }
            rows.push(vec![
                case.name.clone(),
                case.threads.to_string(),
                format!("{:.0}", case.rate()),
                ratio(case),
            ]);
        }
        table(&mut text, &rows);

        let head = [
            "milliseconds at half rate: p50 / p99 / p99.9",
            "OFFER",
            "without hook",
            "ACK",
            "without hook",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for case in &results.cases {
            let Some(Latency { rate, .. }) = case.latency.first() else { continue };
            let mut row = vec![format!("{}, {rate:.0}/s", results.name_of(case))];
            let columns: [fn(&Latency) -> &Times; 4] = [
                |one| &one.with_hook.offer,
                |one| &one.without.offer,
                |one| &one.with_hook.ack,
                |one| &one.without.ack,
            ];
            row.extend(columns.map(|of| {
                let Times { p50, p99, p999 } = case.times(of);
                [p50, p99, p999]
                    .map(|time| time.map_or("–".to_owned(), |time| format!("{time:.1}")))
                    .join(" / ")
            }));
            rows.push(row);
        }
        table(&mut text, &rows);

        let mut rows =
            vec![["instructions of Kea's for a packet", "", "more"].map(str::to_owned).to_vec()];
        let each: Vec<_> =
            results.instructions.iter().map(|cost| median(cost.instructions.clone())).collect();
        for (Cost { name, .. }, instructions) in results.instructions.iter().zip(&each) {
            let alone = each[0];
            let more = 100.0 * (instructions - alone) / alone;
            rows.push(vec![name.clone(), format!("{instructions:.0}"), format!("{more:.1} %")]);
        }
        table(&mut text, &rows);

        let mut rows = vec![["memory of kea-dhcp4", "MiB"].map(str::to_owned).to_vec()];
        rows.extend(
            results.memory.iter().map(|Memory { name, mib }| {
                vec![name.clone(), format!("{:.0}", median(mib.clone()))]
            }),
        );
        table(&mut text, &rows);
    }
    text
}

/// Appends a table of Markdown to `text`, with columns of even width. The first row is the head.
/// Without a second row there is no table.
pub fn table(text: &mut String, rows: &[Vec<String>]) {
    if rows.len() < 2 {
        return;
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Names are aligned left, numbers right.
            let _ = if column == 0 {
                write!(text, "| {cell:width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let _ = write!(
                    text,
                    "|{}{}",
                    "-".repeat(width + 1),
                    if column == 0 { "-" } else { ":" }
                );
            }
            text.push_str("|\n");
        }
    }
    text.push('\n');
}

/// A program for gnuplot that draws the ratio of every case, and the time to an OFFER with the
/// hook. `terminal` and `output` are gnuplot's settings of these names.
pub fn plot(all: &[Results], terminal: &str, output: &str) -> String {
    let with_latency =
        all.iter().flat_map(|results| &results.cases).any(|case| !case.latency.is_empty());
    let panels = if with_latency { 2 } else { 1 };
    let mut script = format!(
        "set terminal {terminal}\nset output '{output}'\nset multiplot layout 1,{panels}\n\
         set style data histogram\nset style histogram clustered gap 1\n\
         set style fill solid 0.8 border -1\nset xtics rotate by -50 noenhanced\nset grid y\n\
         set key top right noenhanced\nset bmargin 17\nset rmargin 22\n"
    );
    let case_names = case_names(all);
    let number = |value: Option<f64>| value.map_or("NaN".to_owned(), |value| format!("{value:.3}"));
    for (block, value) in [
        ("rates", (|case: &Case| Some(case.ratio())) as fn(&Case) -> Option<f64>),
        ("offers", |case| case.times(|one| &one.with_hook.offer).p50),
    ] {
        let _ = writeln!(script, "${block} << EOD");
        for name in &case_names {
            let _ = write!(script, "\"{name}\"");
            for results in all {
                let _ = write!(script, " {}", number(results.case(name).and_then(value)));
            }
            script.push('\n');
        }
        script.push_str("EOD\n");
    }
    let series = |block: &str| {
        let columns = all.iter().enumerate().map(|(index, results)| {
            format!("${block} using {}:xtic(1) title '{}'", index + 2, results.title())
        });
        columns.collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(
        script,
        "set title 'Exchanges a second, Kea without the hook = 1'\nset yrange [0:1.3]\n\
         plot {}, 1 notitle with lines lc 'black'",
        series("rates")
    );
    if with_latency {
        let _ = writeln!(
            script,
            "set title 'Time to an OFFER with the hook, at half of this rate (median, ms)'\n\
             set yrange [0.05:2000]\nset logscale y\nplot {}",
            series("offers")
        );
    }
    script + "unset multiplot\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_case_is_shown_by_its_medians() {
        let rates = |with_hook| Rates { with_hook, before: 900.0, after: 1100.0 };
        let times = |p50, p99| Times { p50: Some(p50), p99, p999: None };
        let latency = |p50, p99| {
            let replies = |times: Times| Replies { offer: times, ack: times };
            Latency {
                rate: 2.0,
                with_hook: replies(times(p50, p99)),
                without: replies(times(0.1, None)),
            }
        };
        let mut case = Case {
            name: "slow".to_owned(),
            threads: 2,
            rates: [5.0, 4.0, 3.0].map(rates).to_vec(),
            latency: vec![latency(3.0, Some(4.0)), latency(1.0, None), latency(2.0, Some(2.0))],
        };
        assert_eq!((case.rate(), case.ratio(), ratio(&case)), (4.0, 0.004, "0.0040".to_owned()));
        // One round has no p99: the median of the rounds has none either.
        assert_eq!(case.times(|one| &one.with_hook.offer), times(2.0, None));
        case.latency.clear();
        assert_eq!(case.times(|one| &one.without.ack).p50, None);
        case.rates = vec![rates(554.0)];
        assert_eq!(ratio(&case), "0.55");
    }

    #[test]
    fn columns_are_even() {
        let mut text = String::new();
        table(
            &mut text,
            &[["a", "bb"].map(str::to_owned).to_vec(), ["ccc", "7"].map(str::to_owned).to_vec()],
        );
        assert_eq!(text, "| a   | bb |\n|-----|---:|\n| ccc |  7 |\n\n");
    }
}
