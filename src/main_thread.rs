// SPDX-License-Identifier: MPL-2.0
//! Work for Kea's main thread: parked packets are resumed nowhere else.
//!
//! Kea's main thread configures and ends the server, so nothing goes on while it does work of ours.
//! Without multi-threading it is also the thread that handles packets. Any thread gives work; the
//! main thread alone does it.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use remote_opts_core::guard::guard;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::ffi;
use crate::log::REMOPTS_EXCEPTION;

/// The time from one look for room in Kea's packet queue to the next. Kea's threads need longer to
/// empty a quarter of the queue.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// The longest that work waits for room. After that it is done without room, one piece at each
/// look, so that it fills the queue no faster than Kea empties it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Work that the main thread does once.
pub trait Work: Send {
    /// Does the work. Main thread.
    fn run(self: Box<Self>);

    /// Ends the work undone, because the library is being unloaded. Main thread.
    fn let_go(self: Box<Self>);
}

/// Hands work to Kea's main thread. Made and dropped on the main thread. Dropped, it lets go of the
/// work that is left.
pub struct MainThread {
    queue: Arc<Queue>,
    /// The runtime that waits for the time of the next look.
    runtime: Handle,
}

impl MainThread {
    /// Has Kea's main thread wait for work. The error is the system's, or an exception of Kea's.
    pub fn watch(runtime: Handle) -> Result<Self, Box<dyn std::error::Error>> {
        let queue = Arc::new(Queue::new()?);
        ffi::watch_main_thread(queue.wake.as_raw_fd())?;
        Ok(MainThread { queue, runtime })
    }

    /// Leaves work to be done soon. Work is done in the order in which it is given. Any thread.
    pub fn give(&self, work: Box<dyn Work>) {
        self.queue.give(work);
    }

    /// Does the work that is there, as far as Kea's packet threads have room for what it leads to.
    /// Called on the main thread when it has been woken.
    pub fn run(&self) {
        if self.queue.run(has_room) {
            let queue = Arc::clone(&self.queue);
            self.runtime.spawn(async move {
                sleep(LOOK_AGAIN).await;
                queue.wake();
            });
        }
    }
}

impl Drop for MainThread {
    fn drop(&mut self) {
        if let Err(exception) = ffi::unwatch_main_thread(self.queue.wake.as_raw_fd()) {
            REMOPTS_EXCEPTION.error([&"unload", &exception]);
        }
        self.queue.let_go();
    }
}

/// Whether Kea's packet queue has room for a packet that goes on. When the queue is full, Kea drops
/// the packet that has waited longest. Three quarters of the queue are left to new packets: in a storm of
/// 5,000 clients within a second, with half of the queue Kea still dropped one packet in a hundred.
fn has_room() -> bool {
    match (ffi::packet_queue_length(), ffi::packet_queue_limit()) {
        (Ok(length), Ok(limit)) => limit == 0 || length <= limit / 4,
        // Without figures, packets go on at once.
        _ => true,
    }
}

/// The work that is left, and the descriptor that wakes the main thread for it.
struct Queue {
    /// Kea's main thread waits until it can be read.
    wake: EventFd,
    waiting: Mutex<VecDeque<Waiting>>,
}

/// One piece of work.
struct Waiting {
    /// When the work was given.
    since: Instant,
    work: Box<dyn Work>,
}

impl Queue {
    fn new() -> nix::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Queue { wake, waiting: Mutex::default() })
    }

    fn give(&self, work: Box<dyn Work>) {
        let is_first = {
            let mut waiting = self.waiting();
            waiting.push_back(Waiting { since: Instant::now(), work });
            waiting.len() == 1
        };
        // For the second piece the main thread has been woken already, or it will look again.
        if is_first {
            self.wake();
        }
    }

    /// Does the work that is there and has room; true when work is left, for which the main thread
    /// must look again.
    fn run(&self, has_room: impl Fn() -> bool) -> bool {
        // Before the work is taken: work that is given later wakes again.
        match self.wake.read() {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(error) => REMOPTS_EXCEPTION.error([&"the main thread", &error]),
        }
        let mut present = std::mem::take(&mut *self.waiting());
        let mut forced = false;
        while let Some(first) = present.front() {
            if !has_room() {
                if forced || first.since.elapsed() < PATIENCE {
                    break;
                }
                forced = true;
            }
            if let Some(Waiting { work, .. }) = present.pop_front() {
                guard((), || work.run());
            }
        }
        let is_left = !present.is_empty();
        if is_left {
            let mut waiting = self.waiting();
            // In front of the work that was given meanwhile.
            present.append(&mut waiting);
            *waiting = present;
        }
        is_left
    }

    fn let_go(&self) {
        let left = std::mem::take(&mut *self.waiting());
        left.into_iter().for_each(|Waiting { work, .. }| guard((), || work.let_go()));
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It fails only when its counter is full: then the main thread is being woken.
        let _ = self.wake.write(1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What became of the pieces of work, in order.
    type Done = Arc<Mutex<Vec<&'static str>>>;

    /// Notes its name when it is done, and its name in capitals when it is let go.
    struct Noted(Done, &'static str, &'static str);

    impl Work for Noted {
        fn run(self: Box<Self>) {
            assert_ne!(self.1, "bug", "on purpose");
            self.0.lock().unwrap().push(self.1);
        }

        fn let_go(self: Box<Self>) {
            self.0.lock().unwrap().push(self.2);
        }
    }

    fn queue() -> (Queue, Done) {
        (Queue::new().unwrap(), Done::default())
    }

    fn give(queue: &Queue, done: &Done, name: &'static str, let_go: &'static str) {
        queue.give(Box::new(Noted(Arc::clone(done), name, let_go)));
    }

    /// What was done since it was asked last.
    fn take(done: &Done) -> Vec<&'static str> {
        std::mem::take(&mut done.lock().unwrap())
    }

    #[tokio::test]
    async fn work_is_done_in_the_order_in_which_it_is_given() {
        let (queue, done) = queue();
        for name in ["a", "b", "c"] {
            give(&queue, &done, name, "");
        }
        assert!(!queue.run(|| true));
        assert_eq!(take(&done), ["a", "b", "c"]);
        assert!(!queue.run(|| true));
        assert_eq!(take(&done), [""; 0]);
    }

    #[tokio::test]
    async fn the_main_thread_is_woken_for_the_first_piece_of_work() {
        let (queue, done) = queue();
        assert_eq!(queue.wake.read(), Err(Errno::EAGAIN));
        give(&queue, &done, "a", "");
        give(&queue, &done, "b", "");
        assert_eq!(queue.wake.read(), Ok(1));
        queue.run(|| true);
        give(&queue, &done, "c", "");
        assert_eq!(queue.wake.read(), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_room_and_keeps_its_order() {
        let (queue, done) = queue();
        give(&queue, &done, "a", "");
        give(&queue, &done, "b", "");
        assert!(queue.run(|| false));
        let room = Cell::new(1);
        assert!(queue.run(|| room.replace(room.get() - 1) > 0));
        assert_eq!(take(&done), ["a"]);
        give(&queue, &done, "c", "");
        assert!(!queue.run(|| true));
        assert_eq!(take(&done), ["b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_has_waited_long_is_done_without_room_one_piece_at_a_look() {
        let (queue, done) = queue();
        give(&queue, &done, "a", "");
        give(&queue, &done, "b", "");
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        give(&queue, &done, "c", "");
        assert!(queue.run(|| false));
        assert_eq!(take(&done), [""; 0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        for expected in ["a", "b"] {
            assert!(queue.run(|| false));
            assert_eq!(take(&done), [expected]);
        }
        assert!(queue.run(|| false));
        assert_eq!(take(&done), [""; 0], "c has not waited long");
    }

    #[tokio::test]
    async fn a_bug_in_one_piece_of_work_costs_that_one_alone() {
        let (queue, done) = queue();
        for name in ["a", "bug", "b"] {
            give(&queue, &done, name, "");
        }
        assert!(!queue.run(|| true));
        assert_eq!(take(&done), ["a", "b"]);
    }

    #[tokio::test]
    async fn work_that_is_left_is_let_go() {
        let (queue, done) = queue();
        give(&queue, &done, "a", "A");
        give(&queue, &done, "b", "B");
        assert!(queue.run(|| false));
        queue.let_go();
        assert_eq!(take(&done), ["A", "B"]);
        assert!(!queue.run(|| true));
    }
}
