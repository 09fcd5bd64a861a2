// SPDX-License-Identifier: MPL-2.0
//! Locks, atomics, time and tasks of the lookup engine, the parking places and the main thread's
//! work. They are those of std and tokio.
//!
//! In a build for the model (`make model`) they are those of Shuttle, which tries one order of
//! steps after the other: docs/decisions/model.md.

#[cfg(not(shuttle))]
pub use {
    std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize},
    std::sync::{Mutex, MutexGuard},
    tokio::runtime::Handle,
    tokio::task::yield_now,
    tokio::time::{Instant, sleep_until, timeout},
};

#[cfg(shuttle)]
mod model;
#[cfg(shuttle)]
pub use model::*;
