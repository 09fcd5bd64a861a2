// SPDX-License-Identifier: MPL-2.0
//! What stands in for std and tokio in a build for the model. Shuttle decides who goes on at each
//! step, and the time passes when Shuttle says so.

use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::atomic::{self, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{self, Duration};

pub use shuttle::future::yield_now;
pub use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
pub use shuttle::sync::{Mutex, MutexGuard};

use shuttle::current::{self, TaskId};
use shuttle::future::{JoinHandle, block_on, spawn};

/// When the model's clock is at 0.
static START: LazyLock<time::Instant> = LazyLock::new(time::Instant::now);

shuttle::lazy_static! {
    /// The model's clock, in microseconds. Each schedule begins at 0. The atomic is std's: to look at
    /// the clock is no step of its own.
    static ref NOW: AtomicU64 = AtomicU64::new(0);

    /// The tasks that have called [`break_off`].
    static ref BROKEN_OFF: std::sync::Mutex<Vec<TaskId>> = std::sync::Mutex::default();
}

/// A time on the model's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(time::Instant);

impl Instant {
    /// What the model's clock says.
    pub fn now() -> Self {
        Instant(*START + Duration::from_micros(NOW.load(Ordering::Relaxed)))
    }

    /// The same time as std's.
    pub fn into_std(self) -> time::Instant {
        self.0
    }

    /// How long ago this time is.
    pub fn elapsed(&self) -> Duration {
        Instant::now() - *self
    }

    /// The time since `earlier`, or 0.
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0 + duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.0 - earlier.0
    }
}

/// Waits for a time. A task of its own sets the clock to this time, whenever Shuttle has the task
/// run: early, before anybody else has done a step, or late.
pub struct Sleep {
    timer: JoinHandle<()>,
    is_over: Arc<atomic::AtomicBool>,
}

/// Waits until the clock says `until`.
pub fn sleep_until(until: Instant) -> Sleep {
    let micros = (until.0 - *START).as_micros() as u64;
    let is_over = Arc::<atomic::AtomicBool>::default();
    let over = Arc::clone(&is_over);
    let timer = spawn(async move {
        if !over.load(Ordering::Relaxed) {
            NOW.fetch_max(micros, Ordering::Relaxed);
        }
    });
    Sleep { timer, is_over }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.timer).poll(context).map(|_| ())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// The time was over first.
#[derive(Debug)]
pub struct Elapsed;

/// The result of `future`, if it is there before `duration` is over.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = Box::pin(future);
    let mut over = sleep_until(Instant::now() + duration);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut over).poll(context).map(|()| Err(Elapsed)),
    })
    .await
}

/// Ends the task that awaits it: its future is dropped, as after a panic. (A real panic is not in the
/// model: Shuttle's tasks share a thread, and a panic of this thread would be one of each task.)
pub async fn break_off() {
    BROKEN_OFF.lock().unwrap().push(current::me());
    std::future::pending().await
}

/// Starts tasks, as the handle of a runtime does.
#[derive(Clone, Default)]
pub struct Handle(Arc<std::sync::Mutex<Tasks>>);

#[derive(Default)]
struct Tasks {
    /// The tasks that nobody has waited for yet.
    started: Vec<Task>,
    has_ended: bool,
}

/// A task, and what wakes it at the end of the runtime.
struct Task {
    handle: JoinHandle<()>,
    waker: Arc<std::sync::Mutex<Option<Waker>>>,
}

impl Handle {
    /// Starts a task. After the end of the runtime the future is dropped at once, on the caller's
    /// thread.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if self.tasks().has_ended {
            return;
        }
        let mut future = Some(Box::pin(future));
        let waker = Arc::<std::sync::Mutex<Option<Waker>>>::default();
        let (runtime, own_waker) = (self.clone(), Arc::clone(&waker));
        let handle = spawn(std::future::poll_fn(move |context| {
            *own_waker.lock().unwrap() = Some(context.waker().clone());
            let has_ended = runtime.tasks().has_ended;
            let poll = match &mut future {
                Some(future) if !has_ended => future.as_mut().poll(context),
                _ => Poll::Ready(()),
            };
            let is_broken_off = BROKEN_OFF.lock().unwrap().contains(&current::me());
            let is_over = poll.is_ready() || is_broken_off || runtime.tasks().has_ended;
            if !is_over {
                return Poll::Pending;
            }
            future = None;
            Poll::Ready(())
        }));
        self.tasks().started.push(Task { handle, waker });
    }

    /// Runs `work` on another thread.
    pub fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.spawn(async { work() });
    }

    /// Waits until all tasks have ended.
    pub fn drain(&self) {
        while let Some(task) = self.next() {
            // No task is aborted.
            let _ = block_on(task.handle);
        }
    }

    /// Ends the runtime, as a drop of `crate::runtime::Runtime` does: no task begins any more, and
    /// when the function returns, all futures are dropped.
    pub fn end(&self) {
        self.tasks().has_ended = true;
        while let Some(task) = self.next() {
            let waker = task.waker.lock().unwrap().take();
            waker.into_iter().for_each(Waker::wake);
            // No task is aborted.
            let _ = block_on(task.handle);
        }
    }

    fn next(&self) -> Option<Task> {
        self.tasks().started.pop()
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
