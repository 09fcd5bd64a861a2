//! Keeps an event that may come with every packet from filling the log. Pure but for the clock; any thread.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines that may be logged in one [`WINDOW`], unless it is said otherwise.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// Lets so many lines through in a [`WINDOW`], and counts the others.
pub struct Throttle {
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
    start: Option<Instant>,
    passed: u32,
    held_back: u64,
}

/// The lines held back before one that passes, as an addition to its text: empty where there are none.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldBack(u64);

impl Throttle {
    /// So many lines in ten seconds.
    pub fn of(lines: u32) -> Self {
        Throttle { lines, window: Mutex::default() }
    }

    /// Whether a line may be logged now, and how many were held back since the last one.
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
