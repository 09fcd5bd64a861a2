// SPDX-License-Identifier: MPL-2.0
//! Work for one thread: any thread gives work, and this one thread does it, or allows that the
//! giver does it at once.
//!
//! The Kea adapter resumes parked packets so. The thread is Kea's main thread, which allows it except
//! while it configures or ends the server.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::guard::guard;
use crate::sync::{Instant, Mutex, MutexGuard};

/// The longest that work waits for room. After that it is done without room, one piece at each
/// look, so that it fills the room no faster than it becomes free.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Work that is done once.
pub trait Work: Send {
    /// Does the work. The thread of the work, or the thread that gives the work.
    fn run(self: Box<Self>);

    /// Ends the work undone, because the library is being unloaded. The thread of the work.
    fn let_go(self: Box<Self>);
}

/// Wakes the thread of the work, and knows whether there is room for what the work leads to.
pub trait Wake: Send + Sync + 'static {
    /// Has the thread call [`Queue::run`] soon. Any thread.
    fn wake(&self);

    /// Notes that the thread is awake: a later [`Wake::wake`] wakes it again. The thread of the
    /// work.
    fn awake(&self);

    /// Whether there is room for what the work leads to. The thread that does the work.
    fn has_room(&self) -> bool;
}

/// The work that is left, and what wakes the thread for it.
pub struct Queue<W> {
    wake: W,
    waiting: Mutex<VecDeque<Waiting>>,
    /// Whether the thread allows that the giver does the work at once. Locked while a giver does:
    /// who forbids it waits until nobody does it any more.
    at_once: Mutex<bool>,
}

/// One piece of work.
struct Waiting {
    /// When the work was given.
    since: Instant,
    work: Box<dyn Work>,
}

impl<W: Wake> Queue<W> {
    /// A queue without work. `wake` wakes the thread. Work may be done at once.
    pub fn new(wake: W) -> Arc<Self> {
        Arc::new(Queue { wake, waiting: Mutex::default(), at_once: Mutex::new(true) })
    }

    /// What wakes the thread.
    pub fn wake(&self) -> &W {
        &self.wake
    }

    /// Allows or forbids that givers do work at once. Forbidden, none does when the function
    /// returns. The thread of the work.
    pub fn allow_at_once(&self, allowed: bool) {
        *self.at_once.lock().unwrap_or_else(PoisonError::into_inner) = allowed;
    }

    /// Does the work at once, where the giver can (`at_once`), the thread allows it, and there is
    /// room for it. Otherwise leaves it to be done soon. Work that waits is done in the order in
    /// which it is given. Any thread. The work must not give work.
    pub fn give(&self, work: Box<dyn Work>, at_once: bool) {
        if at_once {
            let allowed = self.at_once.lock().unwrap_or_else(PoisonError::into_inner);
            if *allowed && self.waiting().is_empty() && self.wake.has_room() {
                return guard((), || work.run());
            }
        }
        let is_first = {
            let mut waiting = self.waiting();
            waiting.push_back(Waiting { since: Instant::now(), work });
            waiting.len() == 1
        };
        // For the second piece the thread has been woken already, or it will look again.
        if is_first {
            self.wake.wake();
        }
    }

    /// Does the work that is there and has room; true when work is left, for which the thread must
    /// look again. Called on the thread when it has been woken.
    pub fn run(&self) -> bool {
        // Before the work is taken: work that is given later wakes again.
        self.wake.awake();
        let mut present = std::mem::take(&mut *self.waiting());
        let mut forced = false;
        while let Some(first) = present.front() {
            if !self.wake.has_room() {
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

    /// Lets go of the work that is left. The thread of the work.
    pub fn let_go(&self) {
        let left = std::mem::take(&mut *self.waiting());
        left.into_iter().for_each(|Waiting { work, .. }| guard((), || work.let_go()));
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What became of the pieces of work, in order.
    type Done = Arc<Mutex<Vec<&'static str>>>;

    /// Counts how often the thread was woken since it was awake.
    struct Counting {
        woken: AtomicUsize,
        /// For how many pieces of work there is room.
        room: AtomicUsize,
    }

    impl Wake for Counting {
        fn wake(&self) {
            self.woken.fetch_add(1, Ordering::Relaxed);
        }

        fn awake(&self) {
            self.woken.store(0, Ordering::Relaxed);
        }

        fn has_room(&self) -> bool {
            let one_less = |room: usize| room.checked_sub(1);
            self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
        }
    }

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

    fn queue() -> (Arc<Queue<Counting>>, Done) {
        let counting = Counting { woken: AtomicUsize::new(0), room: AtomicUsize::new(100) };
        (Queue::new(counting), Done::default())
    }

    fn give(queue: &Queue<Counting>, done: &Done, name: &'static str, let_go: &'static str) {
        queue.give(Box::new(Noted(Arc::clone(done), name, let_go)), false);
    }

    /// Has the thread look at the work, while there is room for so many pieces.
    fn run(queue: &Queue<Counting>, room: usize) -> bool {
        queue.wake().room.store(room, Ordering::Relaxed);
        queue.run()
    }

    /// How often the thread was woken since it was awake.
    fn woken(queue: &Queue<Counting>) -> usize {
        queue.wake().woken.load(Ordering::Relaxed)
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
        assert!(!run(&queue, 100));
        assert_eq!(take(&done), ["a", "b", "c"]);
        assert!(!run(&queue, 100));
        assert_eq!(take(&done), [""; 0]);
    }

    #[tokio::test]
    async fn the_thread_is_woken_for_the_first_piece_of_work() {
        let (queue, done) = queue();
        assert_eq!(woken(&queue), 0);
        give(&queue, &done, "a", "");
        give(&queue, &done, "b", "");
        assert_eq!(woken(&queue), 1);
        run(&queue, 100);
        assert_eq!(woken(&queue), 0);
        give(&queue, &done, "c", "");
        assert_eq!(woken(&queue), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_room_and_keeps_its_order() {
        let (queue, done) = queue();
        give(&queue, &done, "a", "");
        give(&queue, &done, "b", "");
        assert!(run(&queue, 0));
        assert!(run(&queue, 1));
        assert_eq!(take(&done), ["a"]);
        give(&queue, &done, "c", "");
        assert!(!run(&queue, 100));
        assert_eq!(take(&done), ["b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_has_waited_long_is_done_without_room_one_piece_at_a_look() {
        let (queue, done) = queue();
        give(&queue, &done, "a", "");
        give(&queue, &done, "b", "");
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        give(&queue, &done, "c", "");
        assert!(run(&queue, 0));
        assert_eq!(take(&done), [""; 0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        for expected in ["a", "b"] {
            assert!(run(&queue, 0));
            assert_eq!(take(&done), [expected]);
        }
        assert!(run(&queue, 0));
        assert_eq!(take(&done), [""; 0], "c has not waited long");
    }

    #[tokio::test]
    async fn the_giver_does_the_work_at_once_where_it_may() {
        let (queue, done) = queue();
        let give_at_once = |name| queue.give(Box::new(Noted(Arc::clone(&done), name, "")), true);
        give_at_once("a");
        give_at_once("bug");
        assert_eq!((take(&done), woken(&queue)), (vec!["a"], 0));
        queue.allow_at_once(false);
        give_at_once("b");
        assert_eq!((take(&done), woken(&queue)), (vec![], 1));
        queue.allow_at_once(true);
        // Behind the work that waits.
        give_at_once("c");
        assert_eq!(take(&done), [""; 0]);
        assert!(!run(&queue, 100));
        assert_eq!(take(&done), ["b", "c"]);
        queue.wake().room.store(0, Ordering::Relaxed);
        give_at_once("d");
        assert_eq!((take(&done), woken(&queue)), (vec![], 1), "no room");
    }

    #[tokio::test]
    async fn a_bug_in_one_piece_of_work_costs_that_one_alone() {
        let (queue, done) = queue();
        for name in ["a", "bug", "b"] {
            give(&queue, &done, name, "");
        }
        assert!(!run(&queue, 100));
        assert_eq!(take(&done), ["a", "b"]);
    }

    #[tokio::test]
    async fn work_that_is_left_is_let_go() {
        let (queue, done) = queue();
        give(&queue, &done, "a", "A");
        give(&queue, &done, "b", "B");
        assert!(run(&queue, 0));
        queue.let_go();
        assert_eq!(take(&done), ["A", "B"]);
        assert!(!run(&queue, 100));
    }
}
