//! Threads that serve connections, each for itself.
//!
//! A connection belongs to one worker from accept to its end: its socket is registered with that worker's reactor, its tasks
//! and timers run there, and so does every RPC that comes over it. Nothing is stolen and nothing migrates, so what an RPC
//! touches stays in one core's cache, and a service of its own for each worker needs no lock that another worker takes.
//!
//! The price: who holds up a worker holds up the connections of that worker, and nobody else takes them over. A handler
//! that computes for long belongs on the runtime of the process, where tasks are stolen.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Workers there may be.
pub const WORKERS_MAX: usize = 1024;

/// How long the end waits for all workers together. One whose task does not yield is left behind then.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Owns threads, each with a tokio runtime of its own that runs on this thread only.
///
/// The end is in this order: dropping it tells every worker to stop; each finishes the poll it is in, drops its tasks and
/// with them their connections, and ends; then the drop returns. It waits for two seconds at most: a worker that hangs in
/// a task that does not yield is left to end by itself. Dropped by a task of a worker, it tells them and does not wait.
pub struct Workers {
    threads: Vec<Thread>,
    /// Where the look for a worker begins next.
    turn: AtomicUsize,
    running: Arc<Running>,
}

struct Thread {
    handle: Handle,
    open: Arc<AtomicUsize>,
    /// Dropped, it stops the thread.
    stop: Option<oneshot::Sender<()>>,
    /// Taken by the end.
    thread: Option<JoinHandle<()>>,
}

/// How many threads have not ended.
#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    ended: Condvar,
}

impl Workers {
    /// Starts `count` workers; 0 stands for one on each CPU this process may use. Each costs a thread and an epoll instance.
    ///
    /// # Errors
    /// The system gives no more threads or descriptors, or more than [`WORKERS_MAX`] are wanted. None runs then.
    pub fn start(count: usize) -> io::Result<Arc<Self>> {
        let count = match count {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get).min(WORKERS_MAX),
            1..=WORKERS_MAX => count,
            _ => {
                let why = format!("{count} workers are more than {WORKERS_MAX}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        };
        // Dropped by an error on the way, it stops those that were started.
        let mut workers = Self { threads: Vec::new(), turn: AtomicUsize::new(0), running: Arc::default() };
        for index in 0..count {
            workers.threads.push(Thread::start(index, &workers.running)?);
        }
        Ok(Arc::new(workers))
    }

    /// How many there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// The runtime of worker `index`. Sockets and timers made while it is entered belong to that worker.
    ///
    /// # Panics
    /// There is no such worker.
    #[must_use]
    pub fn handle(&self, index: usize) -> &Handle {
        &self.threads[index].handle
    }

    /// The worker with the fewest connections; of several, another one each time.
    #[must_use]
    pub fn least(&self) -> usize {
        let (count, first) = (self.len(), self.turn.load(Ordering::Relaxed));
        let open = |index: &usize| self.open(*index);
        (0..count).map(|step| first.wrapping_add(step) % count).min_by_key(open).unwrap_or_default()
    }

    /// Counts a connection at worker `index` until the seat is dropped.
    #[must_use]
    pub fn seat(&self, index: usize) -> Option<WorkerSeat> {
        let thread = self.threads.get(index)?;
        // The next search begins behind it.
        self.turn.store(index.wrapping_add(1), Ordering::Relaxed);
        thread.open.fetch_add(1, Ordering::Relaxed);
        Some(WorkerSeat { worker: index, open: thread.open.clone() })
    }

    /// Connections of worker `index`.
    #[must_use]
    pub fn open(&self, index: usize) -> usize {
        self.threads.get(index).map_or(0, |thread| thread.open.load(Ordering::Relaxed))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            drop(thread.stop.take());
        }
        let here = thread::current().id();
        let threads = || self.threads.iter().filter_map(|thread| thread.thread.as_ref());
        if threads().any(|thread| thread.thread().id() == here) {
            return;
        }
        let all = self.running.wait(STOP_MAX);
        for thread in self.threads.drain(..).filter_map(|thread| thread.thread) {
            // Without a panic to tell of: tokio catches those of tasks.
            if all || thread.is_finished() {
                thread.join().ok();
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open: Vec<_> = (0..self.len()).map(|index| self.open(index)).collect();
        f.debug_struct("Workers").field("open", &open).finish_non_exhaustive()
    }
}

impl Thread {
    fn start(index: usize, running: &Arc<Running>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let here = running.begin();
        let thread = thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || serve(runtime, stopped, here))?;
        Ok(Self { handle, open: Arc::default(), stop: Some(stop), thread: Some(thread) })
    }
}

/// The life of a worker.
fn serve(runtime: Runtime, stopped: oneshot::Receiver<()>, here: Here) {
    // Nothing is ever sent.
    runtime.block_on(stopped).ok();
    // Tasks end here, and only then is the thread counted out.
    drop(runtime);
    drop(here);
}

impl Running {
    fn begin(self: &Arc<Self>) -> Here {
        *self.lock() += 1;
        Here(self.clone())
    }

    /// Waits until no thread is left, for `max` at most; whether none is.
    fn wait(&self, max: Duration) -> bool {
        let waited = self.ended.wait_timeout_while(self.lock(), max, |count| *count > 0);
        let (count, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that has not ended.
struct Here(Arc<Running>);

impl Drop for Here {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_all();
    }
}

/// One connection of a worker.
#[derive(Debug)]
pub struct WorkerSeat {
    worker: usize,
    open: Arc<AtomicUsize>,
}

impl WorkerSeat {
    /// The index of the worker.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for WorkerSeat {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
