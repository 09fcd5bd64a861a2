//! Work for Kea's main thread: packets are resumed and let go nowhere else. It is the thread that configures and ends the
//! server, so nothing goes on while it does; and without multi-threading it is the one that handles packets.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::bridge;
use crate::messages::REMOPTS_EXCEPTION;

/// What is to be done once.
pub type Work = Box<dyn FnOnce() + Send>;

/// From one look for room in Kea's queue to the next: less than its threads need for half of it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// After so long without room, work is done all the same: one at each look, so that it fills the queue no further than Kea
/// empties it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Work to be done by Kea's main thread, which is woken for it at once. Made and dropped on that thread; dropped with work
/// left, it drops that undone.
pub struct MainThread {
    shared: Arc<Shared>,
    /// The hook's own thread, where the time of the next look is waited for.
    timer: Handle,
}

struct Shared {
    /// Kea's main thread waits for it, beside its sockets.
    wake: EventFd,
    work: Mutex<VecDeque<(Instant, Work)>>,
}

impl MainThread {
    /// Has Kea's main thread wait for work.
    pub fn watch(timer: Handle) -> Result<Self, Box<dyn std::error::Error>> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        bridge::watch_main_thread(wake.as_raw_fd())?;
        Ok(MainThread { shared: Arc::new(Shared { wake, work: Mutex::default() }), timer })
    }

    /// Leaves work to be done soon, in the order in which it is given. Any thread.
    pub fn give(&self, work: Work) {
        let first = {
            let mut waiting = self.shared.work();
            waiting.push_back((Instant::now(), work));
            waiting.len() == 1
        };
        // Else it has been woken for the first, or will look again.
        if first {
            self.shared.wake();
        }
    }

    /// Does the work that is there, as far as Kea's packet threads have room for what it leads to. Called on the main
    /// thread when it was woken.
    pub fn run(&self) {
        // Before the work is taken: what comes later wakes again.
        match self.shared.wake.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => REMOPTS_EXCEPTION.error([&"the main thread", &error]),
        }
        let mut work = std::mem::take(&mut *self.shared.work());
        let mut forced = false;
        while let Some((given, _)) = work.front() {
            if !has_room() {
                if forced || given.elapsed() < PATIENCE {
                    break;
                }
                forced = true;
            }
            if let Some((_, work)) = work.pop_front() {
                bridge::guard((), work);
            }
        }
        if !work.is_empty() {
            let mut later = self.shared.work();
            work.append(&mut later);
            *later = work;
            drop(later);
            let shared = Arc::clone(&self.shared);
            self.timer.spawn(async move {
                sleep(LOOK_AGAIN).await;
                shared.wake();
            });
        }
    }
}

/// Whether a packet that goes on has room in the queue in front of Kea's packet threads: past its limit, Kea drops the one
/// that waits longest. Half of it is left to new packets.
fn has_room() -> bool {
    match (bridge::packet_queue_length(), bridge::packet_queue_limit()) {
        (Ok(length), Ok(limit)) => limit == 0 || length <= limit / 2,
        // Nothing to go by.
        _ => true,
    }
}

impl Shared {
    fn work(&self) -> std::sync::MutexGuard<'_, VecDeque<(Instant, Work)>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when it is full, and the main thread awake.
        let _ = self.wake.write(1);
    }
}

impl Drop for MainThread {
    fn drop(&mut self) {
        if let Err(exception) = bridge::unwatch_main_thread(self.shared.wake.as_raw_fd()) {
            REMOPTS_EXCEPTION.error([&"unload", &exception]);
        }
        self.shared.work().clear();
    }
}
