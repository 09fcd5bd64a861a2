// SPDX-License-Identifier: MPL-2.0
//! What a process holds: threads, descriptors, memory.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Holdings {
    /// How many threads it has.
    pub threads: usize,
    /// How many descriptors are open.
    pub descriptors: usize,
    /// The memory that is in RAM (RSS), in KiB.
    pub memory_kib: usize,
}

impl Holdings {
    /// What the process holds now.
    pub fn of(pid: u32) -> Holdings {
        let status =
            fs::read_to_string(format!("/proc/{pid}/status")).expect("the status of a process");
        let number = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("a line of the status");
            line.trim_start_matches(':')
                .split_whitespace()
                .next()
                .unwrap()
                .parse()
                .expect("a number")
        };
        Holdings {
            threads: number("Threads"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors").count(),
            memory_kib: number("VmRSS"),
        }
    }

    /// What the process holds at rest: connections and threads of the last packets and reloads may
    /// end a little later. Waits until `bound` is true, or until [`PATIENCE`] is over.
    pub fn at_rest(pid: u32, bound: impl Fn(Holdings) -> bool) -> Holdings {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = Holdings::of(pid);
            if bound(now) || Instant::now() > end {
                return now;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}
