// SPDX-License-Identifier: MPL-2.0
//! The results of the benchmark as programs for gnuplot, one for each question of an operator: what
//! does the hook cost my Kea, how long does a machine wait, what happens when all machines come at
//! once. Each plot has a panel for each run.

use std::fmt::{Display, Formatter, Result as Written, Write as _};

use crate::results::{Case, Results, Storm, StormRound};
use crate::tables::{case_names, cost};

/// Width of every plot in pixels: GitHub shows this width unscaled.
const WIDTH: usize = 1000;
/// A character of gnuplot's font at size 10 takes about this much, in pixels.
const CHARACTER: usize = 7;
/// Height of a row of bars in pixels.
const ROW: usize = 24;
/// What stands for Kea without the hook, what for the hook.
const GREY: &str = "#b0b0b0";
const COLOUR: &str = "#d95f02";

/// The plots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Name {
    /// Kea's processor time.
    Cost,
    /// The time to an OFFER.
    Wait,
    /// The machines that are bound, over time.
    Storm,
}

/// All plots.
pub const NAMES: [Name; 3] = [Name::Cost, Name::Wait, Name::Storm];

/// The name of the plot's files.
impl Display for Name {
    fn fmt(&self, text: &mut Formatter) -> Written {
        text.write_str(match self {
            Name::Cost => "cost",
            Name::Wait => "wait",
            Name::Storm => "storm",
        })
    }
}

/// The plots of these results. Without a storm there is no plot of storms.
pub fn of(all: &[Results]) -> Vec<Name> {
    let has_storm = all.iter().any(|results| !results.storm.is_empty());
    NAMES.into_iter().filter(|name| *name != Name::Storm || has_storm).collect()
}

impl Name {
    /// What the plot shows.
    pub fn about(self) -> &'static str {
        match self {
            Name::Cost => "Kea's processor time for an exchange",
            Name::Wait => "Time from a DISCOVER to its OFFER",
            Name::Storm => "Machines that power on within a second, bound over time",
        }
    }

    /// A program for gnuplot that draws the plot. `terminal` is the kind of file: `pngcairo`, or
    /// `svg` with its options; `output` is the file.
    pub fn script(self, all: &[Results], terminal: &str, output: &str) -> String {
        let (height, body) = match self {
            Name::Cost => cost_plot(all),
            Name::Wait => wait_plot(all),
            Name::Storm => storm_plot(all),
        };
        format!(
            "set terminal {terminal} size {WIDTH},{height} font 'sans,10'\nset output '{output}'\n\
             set termoption noenhanced\nset multiplot\nset tics nomirror out scale 0.5\n\
             set label 99 \"{}\" at screen 0.5,screen {} center\n{body}unset multiplot\n",
            quoted(self.about()),
            from_top(15, height),
        )
    }
}

/// The place of something this many pixels below the top, as a part of the height.
fn from_top(pixels: usize, height: usize) -> f64 {
    1.0 - pixels as f64 / height as f64
}

/// A text as it stands between gnuplot's quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Rows of bars with the names of cases at the left.
struct Rows<'a> {
    names: Vec<&'a str>,
    /// Where the first panel begins, in pixels from the left: the longest name stands before it.
    left: usize,
    height: usize,
}

/// Above the panels stand the plot's title, a key of two lines, and the panels' titles.
const TOP: usize = 95;
/// Below the panels stand numbers and the unit.
const BOTTOM: usize = 65;

impl<'a> Rows<'a> {
    fn new(names: Vec<&'a str>) -> Rows<'a> {
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let height = TOP + ROW * names.len().max(1) + BOTTOM;
        Rows { left: 25 + CHARACTER * longest, height, names }
    }

    /// A panel's margins, rows and title, and its block of data: `line` gives the columns of a case
    /// after the number of its row.
    fn panel(
        &self,
        all: &[Results],
        index: usize,
        line: impl Fn(&Results, &Case) -> Option<String>,
    ) -> String {
        let results = &all[index];
        let mut text = margins(self.left, index, all.len(), TOP, BOTTOM, self.height);
        let _ = writeln!(text, "set title '{}'\n$data{index} << EOD", results.title());
        for (row, name) in self.names.iter().enumerate() {
            if let Some(columns) = results.case(name).and_then(|case| line(results, case)) {
                let _ = writeln!(text, "{row} {columns}");
            }
        }
        let _ = writeln!(text, "EOD\nset yrange [{}:-0.6]", self.names.len() as f64 - 0.4);
        let name = |(row, name): (usize, &&str)| match index {
            0 => format!("\"{}\" {row}", quoted(name)),
            _ => format!("'' {row}"),
        };
        let names: Vec<_> = self.names.iter().enumerate().map(name).collect();
        let _ = writeln!(text, "set ytics ({})", names.join(", "));
        text
    }
}

/// The place of panel `index` of `count`, which stand side by side from `left` on, in pixels.
fn margins(
    left: usize,
    index: usize,
    count: usize,
    top: usize,
    bottom: usize,
    height: usize,
) -> String {
    const GAP: usize = 28;
    let width = WIDTH.saturating_sub(left) / count;
    let at = |pixels: usize| pixels as f64 / WIDTH as f64;
    let begin = left + index * width;
    format!(
        "set lmargin at screen {:.4}\nset rmargin at screen {:.4}\nset tmargin at screen {:.4}\n\
         set bmargin at screen {:.4}\n",
        at(begin),
        at((begin + width).saturating_sub(GAP)),
        from_top(top, height),
        from_top(height - bottom, height),
    )
}

/// A part of a horizontal bar: from 0 to the value of this column, in this colour.
fn bar(column: usize, colour: &str) -> String {
    format!(
        "using (0):1:(0):{column}:($1-0.36):($1+0.36) with boxxyerror fs solid noborder lc rgb \
         '{colour}' notitle"
    )
}

/// The key of a plot, above its panels, and drawn by its first panel alone. `entries` are a style
/// and a text each.
fn key(index: usize, height: usize, entries: &[(&str, &str)]) -> (String, String) {
    if index > 0 {
        return ("unset label 99\nset key off\n".to_owned(), String::new());
    }
    let place = from_top(45, height);
    let entries =
        entries.iter().map(|(style, title)| format!(", keyentry {style} title '{title}'"));
    (
        format!("set key at screen 0.5,screen {place:.4} center center vertical Left reverse\n"),
        entries.collect(),
    )
}

/// Bars: grey what Kea needs without the hook, in colour what the hook adds.
fn cost_plot(all: &[Results]) -> (usize, String) {
    let rows = Rows::new(case_names(all, |results, case| {
        case.is_main || results.cost_ratio(case).is_some()
    }));
    let cases = all.iter().flat_map(|results| rows.names.iter().filter_map(|n| results.case(n)));
    let most = cases.map(Case::microseconds).fold(0.0, f64::max);
    let mut text = String::from("set grid xtics lt 1 lc rgb '#dddddd'\n");
    for index in 0..all.len() {
        let line = |results: &Results, case: &Case| {
            let value = case.microseconds();
            let beside = results.beside(case).map_or(value, Case::microseconds);
            Some(format!("{value:.1} {:.1} \"{}\"", beside.min(value), cost(results)(case)))
        };
        let grey = format!("with boxes fs solid noborder lc rgb '{GREY}'");
        let colour = format!("with boxes fs solid noborder lc rgb '{COLOUR}'");
        let (place, entries) = key(
            index,
            rows.height,
            &[(&grey, "the same Kea without the hook"), (&colour, "what the hook adds")],
        );
        // A text of ten characters stands at the end of the longest bar.
        let _ = writeln!(
            text,
            "{}{place}set xrange [0:{:.0}]\nset xlabel 'µs'\nplot $data{index} {}, '' {}, '' using \
             2:1:4 with labels left offset 0.3,0 notitle{entries}",
            rows.panel(all, index, line),
            1.6 * most,
            bar(2, COLOUR),
            bar(3, GREY),
        );
    }
    (rows.height, text)
}

/// Lines from the median to the 99th percentile, on a logarithmic scale.
fn wait_plot(all: &[Results]) -> (usize, String) {
    let rows = Rows::new(case_names(all, |results, case| {
        case.is_main || case.load() != Some(results.load)
    }));
    let mut text = String::from("set logscale x\nset grid xtics lt 1 lc rgb '#dddddd'\n");
    let highest = all.iter().flat_map(|results| &results.cases);
    let highest = highest.filter_map(|case| case.times(|one| &one.offer).p99);
    let most = highest.fold(1000.0, f64::max);
    let median = format!("with points pt 7 ps 1 lc rgb '{COLOUR}'");
    let high = format!("with points pt 9 ps 1 lc rgb '{COLOUR}'");
    for index in 0..all.len() {
        let line = |_: &Results, case: &Case| {
            let times = case.times(|one| &one.offer);
            let p50 = times.p50?;
            let p99 = times.p99.map_or("–".to_owned(), |p99| format!("{p99:.1}"));
            Some(format!("{p50:.3} {:.3} \"{p50:.1} / {p99}\"", times.p99.unwrap_or(p50)))
        };
        let (place, entries) = key(
            index,
            rows.height,
            &[(&median, "half of the machines"), (&high, "99 of 100 machines")],
        );
        // The text stands on the side where there is more room.
        let _ = writeln!(
            text,
            "{}{place}set xrange [0.1:{most:.0}]\nset xtics (0.1, 1, 10, 100)\nset xlabel 'ms'\n\
             plot $data{index} using 2:1:($3-$2):(0) with vectors nohead lw 3 lc rgb '{GREY}' \
             notitle, '' using 3:1 {high} notitle, '' using 2:1 {median} notitle, \
             '' using ($3<20?$3:NaN):1:4 with labels left offset 0.8,0 notitle, \
             '' using ($3<20?NaN:$2):1:4 with labels right offset -0.8,0 notitle{entries}",
            rows.panel(all, index, line),
        );
    }
    (rows.height, text)
}

/// The looks of the curves, in the order of the cases. Curves that lie on one another show through.
const CURVES: [&str; 6] = [
    "lw 7 lc rgb '#b0b0b0'",
    "lw 3 lc rgb '#1f78b4'",
    "lw 2 lc rgb '#d95f02'",
    "lw 2 lc rgb '#b2182b'",
    "lw 2 dt '-' lc rgb '#000000'",
    "lw 2 dt '.' lc rgb '#6a3d9a'",
];

/// Curves: how many machines are bound, over time.
fn storm_plot(all: &[Results]) -> (usize, String) {
    const LEFT: usize = 60;
    /// Above the panels stand two titles and no key.
    const TOP_OF_STORM: usize = 65;
    const LINE: usize = 18;
    fn drawn(results: &Results) -> impl Iterator<Item = (&Storm, &StormRound)> {
        let drawn = results.storm.iter().filter(|storm| storm.is_drawn);
        drawn.filter_map(|storm| Some((storm, storm.middle()?)))
    }
    let entries = all.iter().map(|results| drawn(results).count()).max().unwrap_or(0);
    let bottom = 60 + LINE * entries;
    let height = TOP_OF_STORM + 280 + bottom;
    // The last hundredth of the machines may take long, and must not make the curves narrow.
    let longest = all.iter().flat_map(drawn).filter_map(|(_, round)| round.after(99));
    let seconds = longest.fold(1.0, f64::max).ceil();
    let mut text = String::from("set grid lt 1 lc rgb '#dddddd'\nset xlabel 'seconds'\n");
    for (index, results) in all.iter().enumerate() {
        let _ = write!(
            text,
            "{}set title '{}'\nset xrange [0:{seconds}]\nset yrange [0:*]\n\
             set key at graph 0,graph -0.22 left top Left reverse vertical maxcols 1 samplen 2 font \
             'sans,9'\n{}",
            margins(LEFT, index, all.len(), TOP_OF_STORM, bottom, height),
            results.title(),
            if index > 0 { "unset label 99\nunset ylabel\nset format y ''\n" } else { "" },
        );
        let mut curves = Vec::new();
        for ((number, (storm, round)), look) in
            drawn(results).enumerate().zip(CURVES.iter().cycle())
        {
            let _ = writeln!(text, "$storm{index}_{number} << EOD\n0 0");
            for (point, seconds) in (1..).zip(&round.curve) {
                let _ =
                    writeln!(text, "{seconds} {:.0}", f64::from(storm.machines * point) / 100.0);
            }
            text.push_str("EOD\n");
            curves.push(format!(
                "$storm{index}_{number} with lines {look} title \"{}\"",
                quoted(&storm.name)
            ));
        }
        if !curves.is_empty() {
            let _ = writeln!(text, "plot {}", curves.join(", "));
        }
    }
    (height, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn script(name: Name, all: &[Results]) -> String {
        name.script(all, "svg", "/tmp/plot.svg")
    }

    #[test]
    fn a_bar_ends_at_its_value_and_its_grey_part_at_the_one_beside() {
        let script = script(Name::Cost, &[sample::results()]);
        for line in [
            "\n0 200.0 200.0 \"200\"\n",
            "\n1 300.0 200.0 \"300 (2.00)\"\n",
            "set ytics (\"empty library\" 0, \"answer kept\" 1)\n",
            "set title 'Kea 2.6.3'\n",
        ] {
            assert!(script.contains(line), "{line} in {script}");
        }
    }

    #[test]
    fn a_case_faster_than_the_one_beside_is_grey() {
        let mut results = sample::results();
        results.cases[1].fixed.iter_mut().for_each(|one| one.microseconds = 150.0);
        assert!(script(Name::Cost, &[results]).contains("\n1 150.0 150.0 \"150 (0.75)\"\n"));
    }

    #[test]
    fn each_run_has_a_panel_with_the_same_rows() {
        let mut old = sample::results();
        old.kea = "2.2.0".to_owned();
        old.cases.remove(0);
        let script = script(Name::Cost, &[old, sample::results()]);
        // The case beside is missing, so there is no ratio.
        assert!(script.contains("'Kea 2.2.0'\n$data0 << EOD\n1 300.0 300.0 \"300\"\nEOD\n"));
        assert!(script.contains("'Kea 2.6.3'\n$data1 << EOD\n0 200.0 "));
        assert_eq!(script.matches("set ytics (\"empty library\" 0").count(), 1);
        assert_eq!(script.matches("set ytics ('' 0, '' 1)").count(), 1);
        assert_eq!(script.matches("keyentry").count(), 2);
    }

    #[test]
    fn a_case_at_a_load_of_its_own_has_a_wait_and_no_cost() {
        let mut results = sample::results();
        let slow = &mut results.cases[1];
        slow.is_main = false;
        slow.fixed.iter_mut().for_each(|one| (one.rate, one.offer.p99) = (10.0, None));
        let all = [results];
        assert!(!script(Name::Cost, &all).contains("answer kept"));
        let wait = script(Name::Wait, &all);
        assert!(wait.contains("\n0 0.300 1.500 \"0.3 / 1.5\"\n"), "{wait}");
        assert!(wait.contains("\n1 0.300 0.300 \"0.3 / –\"\n"), "{wait}");
    }

    #[test]
    fn a_curve_begins_at_nothing_and_has_the_machines_of_each_hundredth() {
        let script = script(Name::Storm, &[sample::results()]);
        assert!(script.contains("$storm0_0 << EOD\n0 0\n0.1 2\n0.2 4\n"), "{script}");
        assert!(script.contains("\n9.9 198\nEOD\n"), "{script}");
        assert!(script.contains("set xrange [0:10]\n"), "{script}");
        assert!(script.contains("title \"service 100 ms\"\n"), "{script}");
        assert!(!script.contains("parking places"), "{script}");
    }

    #[test]
    fn a_quote_does_not_end_a_text() {
        assert_eq!(quoted(r#"a "b" \c"#), r#"a \"b\" \\c"#);
    }
}
