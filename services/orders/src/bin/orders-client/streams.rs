//! The calls with many requests.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use orders::client::OrdersClient;
use orders::proto::ecommerce::v1::ProcessOrderRequest;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::input;
use crate::out::{Out, short};

/// What `batch` takes.
#[derive(Debug, Args)]
pub(crate) struct Batch {
    /// A file of requests, or - for the standard input: a JSON array, or one object after the other, such as
    /// {"userId":"ada","items":[{"productId":"tea","quantity":2,"price":3.5}]}.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of this batch: run again with the same key and file, nothing is ordered twice.
    #[arg(long)]
    key: Option<String>,
}

/// What `process` takes.
#[derive(Debug, Args)]
pub(crate) struct Process {
    /// What to move where: ID=STATUS, such as 0190f6d2-...=CONFIRMED. Without any, lines of ID STATUS are read from the
    /// standard input, and each is answered as it comes.
    #[arg(value_name = "STEP", value_parser = input::step)]
    steps: Vec<ProcessOrderRequest>,
}

/// Creates the orders of a file.
pub(crate) async fn batch(client: &OrdersClient, flags: Batch, out: &Out) -> Result<(), Failure> {
    let orders = input::orders(&flags.file)?;
    let (count, started) = (orders.len(), Instant::now());
    let bar = bar(out, count);
    let sent = bar.clone();
    let requests = stream::iter(orders).inspect(move |_| {
        sent.inc(1);
        if sent.position() == sent.length().unwrap_or_default() {
            sent.set_message("waiting for the answer");
        }
    });
    let answer = match &flags.key {
        Some(key) => client.batch_create_orders_once(key, requests).await,
        None => client.batch_create_orders(requests).await,
    };
    bar.finish_and_clear();
    let answer = answer?;
    if out.is_json() {
        out.object(&answer)?;
    }
    let (created, refused, took) = (answer.success_count, answer.failure_count, started.elapsed());
    out.sentence(format_args!("{created} of {count} created, {refused} refused, in {took:.1?}"))?;
    if refused > 0 { Err(Failure::Part) } else { Ok(()) }
}

/// Where nobody watches it draws nothing.
fn bar(out: &Out, count: usize) -> ProgressBar {
    if !out.is_watched() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    // A literal; if it were wrong the default would do.
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos} of {len} orders, {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message("sending");
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Statuses that were asked for and not answered yet, in the sequence of the requests.
type Asked = Arc<Mutex<VecDeque<&'static str>>>;

/// Moves orders, one after the other, on one stream.
pub(crate) async fn process(client: &OrdersClient, flags: Process, out: &Out) -> Result<(), Failure> {
    let misread = Arc::new(AtomicU32::new(0));
    let steps: BoxStream<'static, ProcessOrderRequest> = match flags.steps.is_empty() {
        true => typed(misread.clone()).boxed(),
        false => stream::iter(flags.steps).boxed(),
    };
    let asked: Asked = Asked::default();
    let noted = asked.clone();
    let steps = steps.inspect(move |step| {
        let to = step.new_status.as_known().map_or("?", short);
        noted.lock().unwrap_or_else(PoisonError::into_inner).push_back(to);
    });
    let (mut moved, mut refused) = (0, 0);
    let mut answers = std::pin::pin!(client.process_orders(steps));
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        let to = asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        out.step(&answer, to.unwrap_or("?"))?;
        *(if answer.success { &mut moved } else { &mut refused }) += 1;
    }
    if moved + refused > 1 {
        out.sentence(format_args!("{moved} moved, {refused} refused"))?;
    }
    if refused + misread.load(Ordering::Relaxed) > 0 { Err(Failure::Part) } else { Ok(()) }
}

/// Steps from the standard input, one on each line. What is none is said and skipped: the rest may have been carried out
/// already.
fn typed(misread: Arc<AtomicU32>) -> impl Stream<Item = ProcessOrderRequest> + Send {
    let lines = BufReader::new(tokio::io::stdin()).lines();
    stream::unfold((lines, misread), |(mut lines, misread)| async move {
        loop {
            let line = lines.next_line().await.ok().flatten()?;
            if line.trim().is_empty() {
                continue;
            }
            match input::step(line.trim()) {
                Ok(step) => return Some((step, (lines, misread))),
                Err(sentence) => {
                    misread.fetch_add(1, Ordering::Relaxed);
                    complain(&sentence);
                }
            }
        }
    })
}

#[expect(clippy::print_stderr, reason = "the person who typed it reads it")]
fn complain(sentence: &str) {
    eprintln!("orders-client: {sentence}");
}
