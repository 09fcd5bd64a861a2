// SPDX-License-Identifier: MPL-2.0
//! Keeps an event that may come with every packet from filling the log. Any thread.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The lines that may be logged in one [`WINDOW`] where the caller names no other number.
pub(crate) const LINES: u32 = 10;
/// The time in which lines are counted.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Lets a number of lines through in each window of ten seconds, and counts the lines that it holds
/// back.
pub struct Throttle {
    /// The lines that pass in one window.
    lines: u32,
    window: Mutex<Window>,
}

impl Default for Throttle {
    /// Ten lines in ten seconds.
    fn default() -> Self {
        Throttle::of(LINES)
    }
}

#[derive(Default)]
struct Window {
    /// When the window began. `None` before the first line.
    start: Option<Instant>,
    /// The lines that have passed since the window began.
    passed: u32,
    /// The lines held back since the last line that passed, in earlier windows too.
    held_back: u64,
}

/// How many lines were held back before a line that passes. Shown, it is an addition to the line's
/// text, empty for none.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldBack(u64);

impl Throttle {
    /// A throttle that lets `lines` lines through in ten seconds.
    pub fn of(lines: u32) -> Self {
        Throttle { lines, window: Mutex::default() }
    }

    /// Whether a line may be logged now, and how many were held back since the last one. `None`:
    /// hold the line back.
    pub fn pass(&self) -> Option<HeldBack> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if window.start.is_none_or(|start| now >= start + WINDOW) {
            *window = Window { start: Some(now), passed: 0, held_back: window.held_back };
        }
        if window.passed == self.lines {
            window.held_back += 1;
            return None;
        }
        window.passed += 1;
        Some(HeldBack(std::mem::take(&mut window.held_back)))
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(formatter, " ({count} more of these were not logged)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_lines_in_ten_seconds() {
        let throttle = Throttle::default();
        let passed = (0..25).filter(|_| throttle.pass().is_some()).count();
        assert_eq!(passed, 10);
        tokio::time::advance(WINDOW).await;
        let line = throttle.pass().unwrap();
        assert_eq!(line.to_string(), " (15 more of these were not logged)");
        assert_eq!(throttle.pass().unwrap().to_string(), "");
    }
}
