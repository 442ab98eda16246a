//! Lines on their way to standard output.
//!
//! Whoever logs copies its line into one buffer; a thread writes the whole buffer at a time. A line that finds the thread
//! idle goes out at once. After each write the thread lets lines gather for [`GATHER`], so that a busy server pays for a
//! hundred wake-ups and writes a second and not for one per line.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines waiting for standard output. Beyond it lines are dropped and counted in `log_lines_dropped_total`: a terminal or
/// a collector that stopped reading must not stop the server.
pub const QUEUE_LINES_MAX: usize = 16_384;

/// How long lines gather after a write; less when the queue is half full.
const GATHER: Duration = Duration::from_millis(10);

/// How long the end of the log waits for an output that does not read.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// A buffer that grew beyond this is given back once it is written.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// The way in. Clones share the queue.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Tells the thread.
    more: Condvar,
    /// Told by the thread when it ends.
    done: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: usize,
    /// The thread has nothing to do and must be told.
    idle: bool,
    closing: bool,
    closed: bool,
}

/// Keeps the log running; dropping it writes what is queued.
#[must_use = "the log ends when its guard is dropped"]
pub struct LogGuard(Queue);

/// Starts the thread that writes to `out`.
pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Queue, LogGuard)> {
    let queue = Queue(Arc::default());
    let shared = queue.0.clone();
    let thread = std::thread::Builder::new().name("highball-log".to_owned());
    // The guard ends it, and waits for it within limits.
    drop(thread.spawn(move || shared.write(out))?);
    Ok((queue.clone(), LogGuard(queue)))
}

impl Queue {
    /// Lines that found the queue full.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.lines >= QUEUE_LINES_MAX || waiting.closed {
            drop(waiting);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        let tell = waiting.idle || waiting.lines == QUEUE_LINES_MAX / 2;
        waiting.idle = false;
        drop(waiting);
        if tell {
            self.0.more.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's work.
    fn write(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        let mut waiting = self.lock();
        loop {
            while waiting.lines == 0 && !waiting.closing {
                waiting.idle = true;
                waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.idle = false;
            if waiting.lines == 0 {
                break;
            }
            std::mem::swap(&mut batch, &mut waiting.bytes);
            waiting.lines = 0;
            drop(waiting);
            // An output that fails has nobody to be told.
            out.write_all(&batch).and_then(|()| out.flush()).ok();
            batch.clear();
            batch.shrink_to(KEPT_BYTES_MAX);
            waiting = self.lock();
            if !waiting.closing && waiting.lines < QUEUE_LINES_MAX / 2 {
                let waited = self.more.wait_timeout(waiting, GATHER);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        waiting.closed = true;
        self.done.notify_all();
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let mut waiting = shared.lock();
        waiting.closing = true;
        shared.more.notify_one();
        // In vain when the output does not read; the process must end all the same.
        drop(shared.done.wait_timeout_while(waiting, FLUSH_MAX, |waiting| !waiting.closed));
    }
}

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogGuard")
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// An output that hands over what it is given, and waits until it is taken.
    struct Out(SyncSender<Vec<u8>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn all(taken: &Receiver<Vec<u8>>) -> Vec<u8> {
        taken.iter().flatten().collect()
    }

    #[test]
    fn lines_arrive_whole_in_order_and_all_of_them_by_the_end() {
        let (out, taken) = sync_channel(0);
        let (queue, guard) = start(Out(out)).unwrap();
        let mut want = Vec::new();
        for n in 0..1000 {
            let line = format!("line {n}\n");
            want.extend_from_slice(line.as_bytes());
            queue.push(line.as_bytes());
        }
        let reader = std::thread::Builder::new().spawn(move || all(&taken)).unwrap();
        drop(guard);
        drop(queue);
        assert_eq!(reader.join().unwrap(), want);
    }

    #[test]
    fn a_line_that_finds_the_thread_idle_goes_out_at_once() {
        let (out, taken) = sync_channel(0);
        let (queue, _guard) = start(Out(out)).unwrap();
        queue.push(b"one\n");
        assert_eq!(taken.recv().unwrap(), b"one\n");
    }

    #[test]
    fn an_output_that_does_not_read_costs_lines_and_nothing_else() {
        let (out, taken) = sync_channel(0);
        let (queue, guard) = start(Out(out)).unwrap();
        for _ in 0..2 * QUEUE_LINES_MAX + 2 {
            queue.push(b"x\n");
        }
        // One batch may be in the hands of the thread; the queue holds no more than it may.
        assert!(queue.dropped() > 0);
        assert!(queue.0.lock().lines <= QUEUE_LINES_MAX);
        drop(guard);
        drop(taken);
    }
}
