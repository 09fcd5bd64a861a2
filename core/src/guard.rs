// SPDX-License-Identifier: MPL-2.0
//! Panics end here: none reaches Kea's C++, and each is reported.

use std::panic::{self, AssertUnwindSafe, catch_unwind};

/// Runs `work` and returns its result. When `work` panics, the panic ends here and `fallback` is
/// returned. Any thread.
pub fn guard<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    // Unwind safety: every change of the hook's shared state is one step, so a panic leaves no
    // half-done change behind.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(fallback)
}

/// Has `report` called with one line of text for each panic, on the thread that panics. Replaces
/// the process-wide panic hook of this copy of Rust's runtime: a cdylib has a copy of its own, so
/// no panic of another library comes here.
pub fn report_panics(report: impl Fn(&str) + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| report(&panic.to_string().replace('\n', " "))));
}

#[cfg(test)]
mod tests {
    use super::guard;

    #[test]
    fn a_panic_becomes_the_fallback() {
        assert_eq!(guard(7, || panic!("on purpose")), 7);
        assert_eq!(guard(7, || std::panic::panic_any(1.5)), 7);
        assert_eq!(guard(7, || 8), 8);
    }
}
