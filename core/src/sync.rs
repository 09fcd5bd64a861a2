// SPDX-License-Identifier: MPL-2.0
//! Locks, atomics, time and tasks of the lookup engine, the parking places and the main thread's
//! work. They are those of std and tokio.

pub use {
    std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize},
    std::sync::{Mutex, MutexGuard},
    tokio::runtime::Handle,
    tokio::task::yield_now,
    tokio::time::{Instant, sleep_until, timeout},
};
