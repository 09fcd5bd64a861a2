// SPDX-License-Identifier: MPL-2.0
//! Holds the limits that SECURITY.md names against the limits of this crate. (Core's own test does
//! so with the limits of core.)

use crate::commands::{LONGEST_LIFE, LONGEST_PAGE};
use crate::instance::{FILE_INTERVAL, KEA_DESCRIPTORS, LOOK_AT_FILES, REFUSALS};

const SECURITY: &str = include_str!("../SECURITY.md");

/// The table of the Kea adapter has these rows, in this order, and no other row.
#[test]
fn security_md_has_the_limits_of_the_adapter() {
    let (_, section) = SECURITY.split_once("\n### In the Kea adapter\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the next chapter");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.trim_start_matches("| ").split(" | ");
            format!("{}: {}", cells.next().expect("a limit"), cells.next().expect("a number"))
        })
        .collect();
    let expected = [
        ("Descriptors left to Kea", KEA_DESCRIPTORS.to_string()),
        ("Lines about refused edits in the log", format!("{REFUSALS} in 10 s")),
        ("Time from one look at the files of TLS and tokens to the next", {
            format!("{} s", LOOK_AT_FILES.as_secs())
        }),
        ("Time from one writing of `cache-file` to the next", {
            format!("{} s", FILE_INTERVAL.as_secs())
        }),
        ("Page of `remote-opts-cache-list`", format!("{LONGEST_PAGE} answers")),
        ("Life of an answer of `remote-opts-cache-insert`", {
            format!("{} days", LONGEST_LIFE / (24 * 3600))
        }),
    ];
    for (row, (limit, number)) in rows.iter().zip(&expected) {
        assert_eq!(*row, format!("{limit}: {number}"));
    }
    assert_eq!(rows.len(), expected.len());
}
