// SPDX-License-Identifier: MPL-2.0
//! Any bytes as the file of kept answers.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use remote_opts_core::answer::Given;
use remote_opts_core::cache::{Cache, Entry, Fill, Freshness, Origin};
use remote_opts_core::cache_file::{self, ReadError};
use tempfile::TempDir;

/// The cache takes so many answers of each kind: fewer than a file may have.
const SIZE: usize = 8;

/// The longest line of a file, in bytes.
const LONGEST_LINE: usize = 256 * 1024;

/// Whoever wrote a longer life, a century is long enough.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// An answer that lives longer than this is still there when the file is read again.
const LASTS: Duration = Duration::from_secs(60);

/// The folder of files in memory, where the system has one. A file counts when it is safe on the
/// disk, and a disk is slow.
const MEMORY: &str = "/dev/shm";

fuzz_target!(|file: &[u8]| {
    let folder = TempDir::new_in(MEMORY).or_else(|_| TempDir::new()).expect("a folder");
    let path = folder.path().join("cache");
    fs::write(&path, file).expect("a file");
    let (cache, outcome) = read(&path);
    check_limits(&cache.fill());
    check_lines(file, &outcome, &folder.path().join("line"));
    if let Ok(number) = outcome {
        assert!(cache.len() <= number, "answers out of nothing");
        check_again(&path, &cache);
    }
});

/// The origin of the answers that the target reads and writes.
fn origin() -> Origin {
    let query = BTreeMap::from([("mac".to_owned(), "pkt4.mac".to_owned())]);
    Origin { services: vec!["http://192.0.2.1/boot".to_owned()], query }
}

/// Reads a file that is there.
fn read(path: &Path) -> (Cache, Result<usize, ReadError>) {
    let mut cache = Cache::new(SIZE);
    let outcome = cache_file::read(path, &origin(), &mut cache);
    let outcome = outcome.map(|number| number.expect("the file is there"));
    if let Err(error) = &outcome {
        assert!(cache.is_empty() && cache.fill().bytes == 0, "a file is read whole or not at all");
        let text = error.to_string();
        assert!(!text.contains(['\n', '\r']) && text.len() <= 200, "{text:?}");
    }
    (cache, outcome)
}

fn check_limits(fill: &Fill) {
    assert!(fill.answers <= SIZE && fill.nothings <= SIZE, "{fill:?}");
    assert!(fill.addresses <= SIZE && fill.exchanges == 0, "{fill:?}");
}

/// Checks that a line is judged alone: the first damaged one is the one that the error names, and
/// without damaged lines each line is an answer. `path` is for files of one line.
fn check_lines(file: &[u8], outcome: &Result<usize, ReadError>, path: &Path) {
    let mut lines = file.split_inclusive(|byte| *byte == b'\n');
    let Some(head) = lines.next() else {
        assert!(matches!(outcome, Err(ReadError::Foreign)), "{outcome:?}");
        return;
    };
    let read_alone = |line: &[u8]| {
        fs::write(path, [head, line].concat()).expect("a file");
        read(path).1
    };
    if let Err(error @ (ReadError::Foreign | ReadError::Newer(_) | ReadError::Io(_))) = outcome {
        let alone = read_alone(b"").expect_err("the head alone is refused, too");
        assert_eq!(alone.to_string(), error.to_string());
        return;
    }
    // A file for each line takes time.
    const MOST: usize = 12;
    let mut number = 0;
    for line in lines {
        number += 1;
        let is_good = line.ends_with(b"\n") && line.len() <= LONGEST_LINE;
        let alone = if number <= MOST { Some(read_alone(line).is_ok()) } else { None };
        assert!(is_good || alone != Some(true), "a line without an end is good");
        match outcome {
            Err(ReadError::Damaged(damaged)) if *damaged == number + 1 => {
                assert_ne!(alone, Some(true), "line {damaged} is not damaged");
                return;
            }
            _ => assert!(is_good && alone != Some(false), "line {} is damaged", number + 1),
        }
    }
    assert!(matches!(outcome, Ok(read) if *read == number), "{outcome:?}: {number} lines");
}

/// Checks that the answers that were read are the same when they were written and read again.
fn check_again(path: &Path, cache: &Cache) {
    let entries = cache.entries(Instant::now());
    cache_file::write(path, &origin(), &entries).expect("a file");
    let text = fs::read(path).expect("the file");
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    assert!(lines.clone().all(|line| line.len() <= LONGEST_LINE && line.ends_with(b"\n")));
    assert_eq!(lines.count(), 1 + entries.len(), "the head, and one line for each answer");
    let (again, outcome) = read(path);
    let number = outcome.unwrap_or_else(|error| panic!("its own file is refused: {error}"));
    assert_eq!(number, entries.len());
    check_limits(&again.fill());
    let again = again.entries(Instant::now());
    // An answer with a short life may have ended by now.
    let lasts = |entry: &&Entry| entry.freshness.fresh_for + entry.freshness.stale_for > LASTS;
    let mut rest = again.iter();
    for entry in entries.iter().filter(lasts) {
        let same = rest.find(|other| other.request == entry.request);
        check_same(entry, same.expect("the answer, in its place"));
    }
    assert!(again.len() <= entries.len());
}

/// Checks that an entry that was written and read is the same, and a little older.
fn check_same(entry: &Entry, again: &Entry) {
    assert_eq!(entry.answer, again.answer);
    // Answers are equal whoever gave them.
    let given = |entry: &Entry| match &entry.answer.given {
        Given::Unknown => None,
        Given::By { by, at } => Some((Arc::clone(by), *at)),
    };
    assert_eq!(given(entry), given(again));
    // An answer with nothing reserves no address that a client could have.
    assert!(entry.client == again.client || entry.answer.is_nothing(), "{entry:?}: {again:?}");
    let life = |Freshness { fresh_for, stale_for }| {
        [fresh_for, stale_for].map(|life: Duration| life.min(CENTURY))
    };
    for (before, after) in life(entry.freshness).into_iter().zip(life(again.freshness)) {
        // The file has milliseconds.
        assert!(after <= before + Duration::from_millis(1), "{before:?} has grown to {after:?}");
        assert!(after + LASTS > before, "{before:?} has shrunk to {after:?}");
    }
}
