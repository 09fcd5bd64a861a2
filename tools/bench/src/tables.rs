// SPDX-License-Identifier: MPL-2.0
//! The results of the benchmark as tables of Markdown, which are readable as plain text too.

use std::fmt::Write as _;

use crate::plot;
use crate::results::{Case, Cost, Fixed, Machine, Memory, Results, Storm, Times, median};

/// Begins the part of a document that this module writes.
pub const BEGIN: &str = "<!-- benchmark: begin -->";
/// Ends the part of a document that this module writes.
pub const END: &str = "<!-- benchmark: end -->";

/// The documents that show results: the path of each, and the text between its marks.
pub fn documents(all: &[Results]) -> [(&'static str, String); 2] {
    let pictures = |names: &[plot::Name], folder: &str| {
        let picture = |name: &plot::Name| format!("![{}]({folder}{name}.png)\n\n", name.about());
        names.iter().map(picture).collect::<String>()
    };
    let plots = plot::of(all);
    // What it costs, and what happens when all come at once, or else how long a machine waits.
    let ends = plots.first().into_iter().chain(plots.last()).copied().collect::<Vec<_>>();
    let first = summary(all) + &pictures(&ends, "docs/benchmark/");
    let second = pictures(&plots, "") + &tables(all);
    [("README.md", first), ("docs/benchmark/README.md", second)]
}

/// What the main cases cost in all runs, in one table.
fn summary(all: &[Results]) -> String {
    let mut head = vec!["µs for an exchange (beside the empty library)".to_owned()];
    head.extend(all.iter().map(Results::title));
    let mut rows = vec![head];
    for name in case_names(all, |_, case| case.is_main) {
        let mut row = vec![name.to_owned()];
        row.extend(all.iter().map(|results| results.case(name).map_or(dash(), cost(results))));
        rows.push(row);
    }
    let mut text = String::new();
    table(&mut text, &rows);
    text
}

/// The processor time of a case, and its ratio in brackets where it has one.
pub fn cost(results: &Results) -> impl Fn(&Case) -> String {
    |case| match results.cost_ratio(case) {
        Some(ratio) => format!("{:.0} ({ratio:.2})", case.microseconds()),
        None => format!("{:.0}", case.microseconds()),
    }
}

/// The names of the cases of all runs that `which` chooses, each name once, in the order of the run
/// with the most cases.
pub fn case_names(all: &[Results], which: impl Fn(&Results, &Case) -> bool) -> Vec<&str> {
    let mut runs: Vec<_> = all.iter().collect();
    runs.sort_by_key(|results| std::cmp::Reverse(results.cases.len()));
    let mut names = Vec::new();
    for results in runs {
        for case in results.cases.iter().filter(|case| which(results, case)) {
            if !names.contains(&case.name.as_str()) {
                names.push(&case.name);
            }
        }
    }
    names
}

/// What stands where there is no value.
fn dash() -> String {
    "–".to_owned()
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(dash, |value| format!("{value:.digits$}"))
}

/// All results.
pub fn tables(all: &[Results]) -> String {
    let mut text = String::new();
    for results in all {
        let Machine { processor, cores, memory_gib, system, kernel } = &results.machine;
        let _ = writeln!(
            text,
            "## {}\n\nHook {} ({}), on {}, {} {}; {system}, {cores} cores of {processor}, \
             {memory_gib} GiB, Linux {kernel}.\n",
            results.title(),
            results.hook,
            results.commit,
            results.date,
            results.rounds,
            if results.rounds == 1 { "round" } else { "rounds" },
        );
        table(&mut text, &case_rows(results));
        table(&mut text, &instruction_rows(results));
        table(&mut text, &memory_rows(&results.memory));
        table(&mut text, &storm_rows(&results.storm));
    }
    text
}

fn head<const N: usize>(titles: [&str; N]) -> Vec<String> {
    titles.map(str::to_owned).into()
}

/// The main cases and those of the hook. What stands beside these needs no row of its own.
fn case_rows(results: &Results) -> Vec<Vec<String>> {
    let turns = results.cases.first().map_or(0, |case| case.fixed.len());
    let mut rows = vec![head([
        &format!("at {:.0}/s, {turns} times {} s", results.load, results.seconds),
        "µs",
        "beside",
        "ratio",
        "exchanges/s",
        "ratio",
        "OFFER ms p50 / p99 / p99.9",
        "ACK ms p50 / p99 / p99.9",
    ])];
    for case in results.cases.iter().filter(|case| case.is_main || case.beside.is_some()) {
        let times = |of: fn(&Fixed) -> &Times| {
            let Times { p50, p99, p999 } = case.times(of);
            [p50, p99, p999].map(|time| shown(time, 1)).join(" / ")
        };
        let load = case.load().filter(|load| *load != results.load);
        rows.push(vec![
            load.map_or(case.name.clone(), |load| format!("{}, at {load:.0}/s", case.name)),
            shown(Some(case.microseconds()), 0),
            shown(results.beside(case).map(Case::microseconds), 0),
            shown(results.cost_ratio(case), 2),
            shown(case.rate(), 0),
            shown(results.rate_ratio(case), 2),
            times(|one| &one.offer),
            times(|one| &one.ack),
        ]);
    }
    rows
}

fn instruction_rows(results: &Results) -> Vec<Vec<String>> {
    let mut rows = vec![head(["instructions of Kea's for a packet", "", "beside", "more"])];
    let each = |cost: &Cost| median(cost.instructions.iter().copied());
    for cost in &results.instructions {
        let beside = results.case(&cost.name).and_then(|case| case.beside.as_ref());
        let beside =
            beside.and_then(|name| results.instructions.iter().find(|one| one.name == *name));
        let more = beside.map(|beside| 100.0 * (each(cost) / each(beside) - 1.0));
        rows.push(vec![
            cost.name.clone(),
            shown(Some(each(cost)), 0),
            shown(beside.map(each), 0),
            more.map_or_else(dash, |more| format!("{more:.1} %")),
        ]);
    }
    rows
}

fn memory_rows(memory: &[Memory]) -> Vec<Vec<String>> {
    let mut rows = vec![head(["memory of kea-dhcp4", "MiB"])];
    rows.extend(memory.iter().map(|Memory { name, mib }| {
        vec![name.clone(), shown(Some(median(mib.iter().copied())), 0)]
    }));
    rows
}

/// One row for each case: its storm of median length.
fn storm_rows(storms: &[Storm]) -> Vec<Vec<String>> {
    let machines = storms.first().map_or(0, |storm| storm.machines);
    let mut rows = vec![head([
        &format!("{machines} machines power on"),
        "bound with their answer",
        "half within s",
        "99 % within s",
        "all within s",
        "DISCOVERs each",
        "HTTP requests",
    ])];
    for (storm, middle) in storms.iter().filter_map(|storm| Some((storm, storm.middle()?))) {
        rows.push(vec![
            storm.name.clone(),
            middle.bound.to_string(),
            shown(middle.after(50), 2),
            shown(middle.after(99), 2),
            shown(middle.after(100), 2),
            format!("{:.2}", middle.discovers as f64 / f64::from(storm.machines)),
            middle.requests.to_string(),
        ]);
    }
    rows
}

/// Appends a table of Markdown to `text`, with columns of even width. The first row is the head.
/// Without a second row there is no table.
fn table(text: &mut String, rows: &[Vec<String>]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn columns_are_even() {
        let mut text = String::new();
        table(&mut text, &[head(["a", "bb"]), head(["ccc", "7"])]);
        assert_eq!(text, "| a   | bb |\n|-----|---:|\n| ccc |  7 |\n\n");
        let mut text = String::new();
        table(&mut text, &[head(["a", "bb"])]);
        assert_eq!(text, "");
    }

    #[test]
    fn cases_have_a_row_and_those_that_only_stand_beside_have_none() {
        let mut results = sample::results();
        let [head, empty, kept] = case_rows(&results).try_into().unwrap();
        assert_eq!(head[0], "at 2500/s, 3 times 2 s");
        assert_eq!(empty[..6], ["empty library", "200", "–", "–", "6000", "–"]);
        assert_eq!(kept[..6], ["answer kept", "300", "200", "2.00", "3000", "0.50"]);
        assert_eq!(kept[6..], ["0.3 / 1.5 / –", "0.2 / 0.9 / 2.0"]);
        results.cases[1].fixed.iter_mut().for_each(|one| one.rate = 10.0);
        assert_eq!(case_rows(&results)[2][..4], ["answer kept, at 10/s", "300", "–", "–"]);
    }

    #[test]
    fn instructions_stand_beside_those_without_the_hook() {
        let [_, empty, kept] = instruction_rows(&sample::results()).try_into().unwrap();
        assert_eq!(empty, ["empty library", "200000", "–", "–"]);
        assert_eq!(kept, ["answer kept", "210000", "200000", "5.0 %"]);
    }

    #[test]
    fn memory_is_the_median() {
        let rows = memory_rows(&sample::results().memory);
        assert_eq!(rows[1..], [["hook, no clients", "26"].map(str::to_owned)]);
    }

    #[test]
    fn a_storm_that_did_not_end_has_no_time() {
        let [head, drawn, other] = storm_rows(&sample::results().storm).try_into().unwrap();
        assert_eq!(head[0], "200 machines power on");
        assert_eq!(drawn[..], ["service 100 ms", "199", "5.00", "9.90", "–", "1.50", "200"]);
        assert_eq!(other[0], "service 100 ms, parking places");
    }

    #[test]
    fn the_summary_has_the_main_cases_of_all_runs() {
        let mut old = sample::results();
        old.kea = "2.2.0".to_owned();
        old.cases.remove(1);
        let text = summary(&[old, sample::results()]);
        let rows: Vec<_> = text.trim().lines().collect();
        assert_eq!(rows.len(), 4, "{text}");
        assert!(rows[0].ends_with("| Kea 2.2.0 |  Kea 2.6.3 |"), "{text}");
        assert!(rows[2].starts_with("| empty library  ") && rows[2].ends_with("|        200 |"));
        assert!(rows[3].starts_with("| answer kept  ") && rows[3].ends_with(" – | 300 (2.00) |"));
    }

    #[test]
    fn each_document_has_its_plots_and_its_figures() {
        let [(first, readme), (second, page)] = documents(&[sample::results()]);
        assert_eq!((first, second), ("README.md", "docs/benchmark/README.md"));
        for plot in plot::NAMES {
            let there = plot != plot::Name::Wait;
            assert_eq!(readme.contains(&format!("](docs/benchmark/{plot}.png)\n")), there);
            assert!(page.contains(&format!("]({plot}.png)\n")));
        }
        let without_storm = Results { storm: Vec::new(), ..sample::results() };
        let [(_, readme), (_, page)] = documents(&[without_storm]);
        assert!(readme.contains("/wait.png") && !page.contains("storm.png"), "{page}");
        let [(_, readme), (_, page)] = documents(&[sample::results()]);
        assert!(readme.contains(" 300 (2.00) |") && page.contains("## Kea 2.6.3\n"));
        assert!(page.contains("\n\nHook 0.1.0 (0123456), on 2026-12-01, 3 rounds; a system"));
        for head in ["| at 2500/s", "| instructions", "| memory", "| 200 machines power on"] {
            assert!(page.contains(head), "{head} in {page}");
        }
    }
}
