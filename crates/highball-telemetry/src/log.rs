//! The log: one JSON object per line on standard output.

use std::fmt;
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::names;

/// Lines waiting for standard output. Beyond it lines are dropped and counted in `log_lines_dropped_total`: a terminal or
/// a collector that stopped reading must not stop the server.
pub const QUEUE_LINES_MAX: usize = 16_384;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts the log for this process. Keep the guard until the end of `main`: dropping it flushes what is queued.
///
/// `filter` follows `tracing_subscriber`'s directives (`info`, `highball::rpc=debug,info`).
///
/// # Errors
/// A sentence, when the filter does not parse or a log was started before.
pub fn start(filter: &str) -> Result<WorkerGuard, LogError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|e| LogError(format!("invalid log filter {filter:?}: {e}")))?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE_LINES_MAX)
        .lossy(true)
        .thread_name("highball-log")
        .finish(std::io::stdout());
    let dropped = writer.error_counter();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .try_init()
        .map_err(|e| LogError(format!("the log was started twice: {e}")))?;
    // The first start wins, as it did for the subscriber.
    DROPPED.get_or_init(|| dropped);
    crate::panics::install_hook();
    Ok(guard)
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

/// Renders `log_lines_dropped_total`; the count lives in the appender.
#[derive(Debug)]
pub(crate) struct DroppedLines;

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
        let counter = ConstCounter::new(dropped as u64);
        let name = names::LOG_LINES_DROPPED.trim_end_matches("_total");
        let encoder = encoder.encode_descriptor(name, "Log lines dropped", None, MetricType::Counter)?;
        counter.encode(encoder)
    }
}
