//! The log: one JSON object per line on standard output.

mod line;
mod queue;
mod rpc;

use std::fmt;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tracing_subscriber::EnvFilter;

use crate::{RpcEnd, names};
use line::JsonLine;
use queue::Queue;

pub use queue::{LogGuard, QUEUE_LINES_MAX};

static STARTED: OnceLock<Queue> = OnceLock::new();

/// Starts the log for this process. Keep the guard until the end of `main`: dropping it writes what is queued, for at most
/// a second.
///
/// `filter` follows `tracing_subscriber`'s directives (`info`, `highball::rpc=debug,info`).
///
/// # Errors
/// A sentence, when the filter does not parse, a log was started before, or the system gives no thread.
pub fn start(filter: &str) -> Result<LogGuard, LogError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|e| LogError(format!("invalid log filter {filter:?}: {e}")))?;
    let (queue, guard) = queue::start(std::io::stdout())
        .map_err(|e| LogError(format!("the log's thread could not be started: {e}")))?;
    tracing_subscriber::fmt()
        .event_format(JsonLine)
        .with_env_filter(filter)
        .with_writer(queue.clone())
        .try_init()
        .map_err(|e| LogError(format!("the log was started twice: {e}")))?;
    // The first start wins, as it did for the subscriber.
    STARTED.get_or_init(|| queue);
    crate::panics::install_hook();
    Ok(guard)
}

/// Passes on a line that another process of the same service logged, with the newline at its end. It is dropped when this
/// process has no log, and as any line when the queue is full.
pub fn relay(line: &[u8]) {
    if let Some(queue) = STARTED.get() {
        queue.push(line);
    }
}

/// Writes the line of an RPC, if this process has a log of its own; whether it has.
pub(crate) fn rpc(level: &'static str, end: &RpcEnd<'_>) -> bool {
    STARTED.get().map(|queue| rpc::write(queue, level, end)).is_some()
}

/// Why the log did not start.
#[derive(Debug)]
pub struct LogError(String);

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LogError {}

/// Renders `log_lines_dropped_total`; the queue counts.
#[derive(Debug)]
pub(crate) struct DroppedLines;

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(STARTED.get().map_or(0, Queue::dropped));
        let name = names::LOG_LINES_DROPPED.trim_end_matches("_total");
        let encoder = encoder.encode_descriptor(name, "Log lines dropped", None, MetricType::Counter)?;
        counter.encode(encoder)
    }
}
