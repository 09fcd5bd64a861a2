//! The thread on which requests are made: the hook's own, from `load` to `unload`.

use std::io;
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread that runs asynchronous work. Dropped, it stops the work where it stands and waits until the thread has
/// ended, which takes no longer than the step that the work is at.
pub struct Runtime {
    handle: Handle,
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        // Where the system's resolver hangs, each name that is looked up keeps a thread of its own for long.
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = without_signals(|| {
            thread::Builder::new().name("remote-opts".into()).spawn(move || {
                // An error: the sender is gone, which is how it is told to stop.
                let _ = runtime.block_on(stopped);
                // Does not wait for the system's resolver, which nobody can interrupt. (The library stays mapped, for
                // that thread's sake too: see build.rs.)
                runtime.shutdown_background();
            })
        })?;
        Ok(Runtime { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Where work can be given to the thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been logged.
            let _ = thread.join();
        }
    }
}

/// Runs `start`, which starts a thread that is to get no signals: Kea handles its own on its main thread, and to write
/// to a connection that the backend has closed must be an error, not the SIGPIPE that ends Kea, which leaves
/// that signal as it is.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    // A thread inherits what its parent blocks, and SIGPIPE goes to the thread that wrote. To ignore the signal would
    // be simpler, but is for the whole process and the programs that it starts.
    let blocked = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = start();
    if let Ok(before) = blocked {
        // It cannot fail: the mask is one that this thread had.
        let _ = before.thread_set_mask();
    }
    started
}
