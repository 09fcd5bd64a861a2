// SPDX-License-Identifier: MPL-2.0
//! Work for Kea's main thread: it resumes parked packets, or allows other threads to.
//!
//! Kea's main thread configures and ends the server. Without multi-threading it is also the thread
//! that handles packets. With multi-threading, whoever has a packet's outcome resumes the packet at
//! once, but for the time of a critical section of Kea's, in which the main thread configures or
//! ends the server: see docs/decisions/main-thread.md.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use remote_opts_core::work::{Queue, Wake};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::ffi;
use crate::log::REMOPTS_EXCEPTION;

/// The time from one look for room in Kea's packet queue to the next. Kea's threads need longer to
/// empty a quarter of the queue.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What wakes Kea's main thread, which waits until the descriptor can be read.
pub struct Descriptor(EventFd);

impl Wake for Descriptor {
    fn wake(&self) {
        // It fails only when its counter is full: then the main thread is being woken.
        let _ = self.0.write(1);
    }

    fn awake(&self) {
        match self.0.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => REMOPTS_EXCEPTION.error([&"the main thread", &error]),
        }
    }

    /// Whether Kea's packet queue has room for a packet that goes on. When the queue is full, Kea
    /// drops the packet that has waited longest. Three quarters of the queue are left to new packets:
    /// in a storm of 5,000 clients within a second, with half of the queue Kea still dropped one
    /// packet in a hundred. Any thread.
    fn has_room(&self) -> bool {
        match (ffi::packet_queue_length(), ffi::packet_queue_limit()) {
            (Ok(length), Ok(limit)) => limit == 0 || length <= limit / 4,
            // Without figures, packets go on at once.
            _ => true,
        }
    }
}

/// Hands work to Kea's main thread. Made and dropped on the main thread. Dropped, it lets go of the
/// work that is left.
pub struct MainThread {
    queue: Arc<Queue<Descriptor>>,
    /// The runtime that waits for the time of the next look.
    runtime: Handle,
}

impl MainThread {
    /// Has Kea's main thread wait for work, and say when it begins and ends a critical section. The
    /// error is the system's, or an exception of Kea's.
    pub fn watch(runtime: Handle) -> Result<Self, Box<dyn std::error::Error>> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        ffi::watch_main_thread(wake.as_raw_fd())?;
        Ok(MainThread { queue: Queue::new(Descriptor(wake)), runtime })
    }

    /// Takes work from any thread.
    pub fn queue(&self) -> &Arc<Queue<Descriptor>> {
        &self.queue
    }

    /// Does the work that is there, as far as Kea's packet threads have room for what it leads to.
    /// Called on the main thread when it has been woken.
    pub fn run(&self) {
        if self.queue.run() {
            let queue = Arc::clone(&self.queue);
            self.runtime.spawn(async move {
                sleep(LOOK_AGAIN).await;
                queue.wake().wake();
            });
        }
    }
}

impl Drop for MainThread {
    fn drop(&mut self) {
        if let Err(exception) = ffi::unwatch_main_thread(self.queue.wake().0.as_raw_fd()) {
            REMOPTS_EXCEPTION.error([&"unload", &exception]);
        }
        self.queue.let_go();
    }
}
