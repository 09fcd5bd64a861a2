// SPDX-License-Identifier: MPL-2.0
//! The one thread on which requests are made. It lives from `load` to `unload`.

use std::io;
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The most threads that read and write files at once. (Names are resolved on threads of their own:
/// the system's resolver may hang.)
pub(crate) const FILE_THREADS: usize = 4;

/// A thread that runs asynchronous work. Dropped, it stops the work and waits until the thread has
/// ended, which takes no longer than the step that the work is at.
pub struct Runtime {
    handle: Handle,
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts the thread. The error is the system's: no thread, or no descriptor, could be had.
    pub fn start() -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(FILE_THREADS).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = without_signals(|| {
            thread::Builder::new().name("remote-opts".into()).spawn(move || {
                // The error says that the sender is dropped: the sign to stop.
                let _ = runtime.block_on(stopped);
                // Does not wait for the threads of files. The library stays mapped for them, and
                // for the threads of the system's resolver: see build.rs, "nodelete".
                runtime.shutdown_background();
            })
        })?;
        Ok(Runtime { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Through this handle any thread gives work to the runtime's thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The error is a panic on the runtime's thread, which has been reported.
            let _ = thread.join();
        }
    }
}

/// Runs `start`, which starts a thread. The new thread gets no signals: Kea handles its signals on
/// its main thread. And a write to a connection that the service has closed must be an error, not
/// the SIGPIPE that ends the process: Kea leaves SIGPIPE at its default.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    // A thread inherits the signals that its parent blocks, and SIGPIPE goes to the thread that
    // wrote. To ignore SIGPIPE would be simpler, but counts for the whole process and the programs
    // that it starts.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let started = start();
    if let Ok(before) = before {
        // Cannot fail: this thread had the same mask before.
        let _ = before.thread_set_mask();
    }
    started
}
