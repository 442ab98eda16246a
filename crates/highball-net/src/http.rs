//! The HTTP connection driver: HTTP/2 and HTTP/1.1 on one byte stream, under watch, told when to drain, and always ending.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use highball_core::{Body, BoxError};
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::time::{Instant, sleep_until};

use crate::h2::control::Control;
use crate::h2::sentinel::{Sentinel, Timeouts};
use crate::h2::{Abuse, Rules};
use crate::outbox::{Counted, Outbox};
use crate::silence::{Watched, silent};
use crate::stream_task::{Accounts, StreamTask};
use crate::tasks::{Spawner, Tasks};
use crate::{Drain, Draining, Incoming, Io, Phase, inbound};

/// What a connection may do, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Streams a client may have open at once, announced in SETTINGS. Default 1,000.
    pub concurrent_streams_max: u32,
    /// Size of a request's header list, as RFC 9113 §6.5.2 counts it. Default 16 KiB.
    pub header_list_size_bytes_max: u32,
    /// Bytes of one response that wait for the client's window. Default 64 KiB.
    pub send_buffer_size_bytes_max: usize,
    /// Bytes of all responses that wait for the client, with 256 for each frame. At the bound a response makes no further
    /// message until others have gone out; a client that takes nothing for [`write_stall`](Self::write_stall) then is
    /// closed. A message counts as long as any of it waits, and one may go beyond the bound for each thread of the runtime.
    /// Default 64 MiB: a full send buffer for each of 1,000 streams, so that readers who stall, each within its own
    /// buffer, do not hold up the rest.
    pub buffered_size_bytes_max: usize,
    /// Bytes of all requests that have come and that no service has read, announced as the window of the connection and
    /// of each stream. Default 1 MiB.
    pub receive_buffer_size_bytes_max: u32,
    /// Bytes of messages that are not whole yet, which services of all streams hold while the rest is on its way. The
    /// stream that goes beyond ends. Default 128 MiB: 32 messages of the largest size, interleaved.
    pub unfinished_size_bytes_max: usize,
    /// Time for the TLS handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Time for the whole preface with its SETTINGS, or for an HTTP/1.1 request head. Default 10 s.
    pub preface_timeout: Duration,
    /// Time from the first frame of a header block to its last. Default 10 s.
    pub header_timeout: Duration,
    /// Time the client may take none of our bytes while there are some. Default 60 s.
    pub write_stall: Duration,
    /// Time without a stream after which the connection is closed: GOAWAY with `max_idle`. Default 5 min.
    pub idle_max: Duration,
    /// Age at which the client is asked to reconnect: GOAWAY with `max_age`. Default 30 min, ±10 % for each connection so
    /// that clients which came together do not leave together (gRFC A9).
    pub age_max: Duration,
    /// Time streams get after that. Default 30 s. Then they are answered UNAVAILABLE and the connection is closed.
    pub age_grace: Duration,
    /// Silence after which the client is asked for a sign of life. Default 20 s.
    pub keepalive_time: Duration,
    /// Time it has to answer. Default 5 s; then the connection is closed.
    pub keepalive_timeout: Duration,
    /// What counts as abuse.
    pub rules: Rules,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrent_streams_max: 1000,
            header_list_size_bytes_max: 16 << 10,
            send_buffer_size_bytes_max: 64 << 10,
            buffered_size_bytes_max: 64 << 20,
            receive_buffer_size_bytes_max: 1 << 20,
            unfinished_size_bytes_max: 128 << 20,
            handshake_timeout: Duration::from_secs(10),
            preface_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            write_stall: Duration::from_secs(60),
            idle_max: Duration::from_secs(300),
            age_max: Duration::from_secs(1800),
            age_grace: Duration::from_secs(30),
            keepalive_time: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(5),
            rules: Rules::default(),
        }
    }
}

/// Resets that a client may cause before its streams are accepted (CVE-2023-44487). hyper's default, stated so that a
/// change of it is ours.
const PENDING_RESETS_MAX: usize = 20;

/// After GOAWAY, a connection that never carried a request gets this long to take it and go: a client that never finished
/// its preface would otherwise hold the drain to its end. Used connections are left to h2, which knows what is unsent.
const FAREWELL: Duration = Duration::from_secs(1);

/// After streams were told to end, they get this long to carry their last trailers out.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client left, both sides said goodbye, or it never asked for anything.
    Orderly,
    /// The protocol or the transport failed.
    Failed(BoxError),
    /// The client did what no well-behaved client does.
    Abusive(Abuse),
    /// It was closed while it was still in use: the drain was forced, or its grace was over.
    Cut,
}

/// Serves one connection to its end.
///
/// The service gets each request with the phases of this connection: they follow the server's, and run ahead of them when
/// the connection is too old. When a drain begins, GOAWAY goes out in two steps (HTTP/2) or keep-alive ends (HTTP/1.1),
/// and what is in flight may finish. When it is forced, the service is expected to end what is left; then the connection
/// is closed. `jitter` are random bits that spread [`Settings::age_max`].
///
/// # Cancel safety
/// Dropping the future closes the connection and aborts its requests.
pub async fn drive<S, F>(
    io: Box<dyn Io>,
    settings: &Settings,
    jitter: u64,
    draining: &Draining,
    service: S,
) -> End
where
    S: Fn(Request<Incoming>, Draining) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (streams, phases) = (Tasks::new(), Drain::new());
    let accounts = Accounts::new(settings.buffered_size_bytes_max, settings.unfinished_size_bytes_max);
    let (builder, timeouts) = builder(settings, Streams::new(streams.spawner(), accounts.clone()));
    let (sentinel, control) = Sentinel::new(io, settings.rules.clone(), timeouts);
    let (used, heard) = (Used::default(), phases.listen());
    let (mark, held) = (used.clone(), accounts.clone());
    let service = service_fn(move |request| {
        mark.0.store(true, Ordering::Relaxed);
        let response = service(inbound::request(request), heard.clone());
        let held = held.clone();
        async move { Ok::<_, Infallible>(response.await.map(|body| Counted::new(body, held))) }
    });
    let connection = pin!(builder.serve_connection(TokioIo::new(sentinel), service));
    let silence = silent(settings.keepalive_time, settings.keepalive_timeout, &control);
    let mut connection = Watched::new(connection, silence);

    let end = 'life: {
        // A set of one: polled only when it was woken itself, and not its three timers with every frame.
        let mut leaving: FuturesUnordered<_> =
            std::iter::once(time_to_leave(settings, jitter, draining, &control, &accounts.outbox)).collect();
        let leave = tokio::select! {
            biased;
            end = &mut connection => break 'life ended(end, &control),
            Some(leave) = leaving.next() => leave,
        };
        let Some(leave) = leave else { break 'life End::Abusive(Abuse::WriteStall) };
        if let Some(debug) = leave.debug {
            control.say_goodbye(debug);
        }
        phases.advance(Phase::Draining);
        // Asked to leave before it has said what it speaks, hyper would close without a word.
        tokio::select! {
            // What has arrived is looked at before the clock is.
            biased;
            end = until_spoken(&mut connection, &control) => if let Some(end) = end {
                break 'life ended(end, &control);
            },
            () = tokio::time::sleep(FAREWELL) => break 'life End::Orderly,
        }
        connection.connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            end = &mut connection => break 'life ended(end, &control),
            () = unused(&used) => break 'life End::Orderly,
            () = leave.patience(settings, draining) => {}
        }
        phases.advance(Phase::Forced);
        // Streams look at the phase whenever they are polled, and wait for nothing else to hear of it.
        streams.wake_all();
        tokio::select! {
            end = &mut connection => ended(end, &control),
            () = tokio::time::sleep(LAST_WORDS) => End::Cut,
        }
    };
    // Whoever counts RPCs after this connection must find none of its own.
    streams.abort_all();
    streams.finished().await;
    end
}

/// Drives the connection until it is known what it speaks; its end, if that comes first.
async fn until_spoken<C: Future + Unpin>(connection: &mut C, control: &Control) -> Option<C::Output> {
    std::future::poll_fn(|cx| {
        if control.has_spoken() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut *connection).poll(cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending if control.has_spoken() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Why a connection is asked to leave.
struct Leave {
    /// What the GOAWAY says; nothing when the whole server drains.
    debug: Option<&'static str>,
}

impl Leave {
    /// Resolves when streams have had their time: at the end of the connection's own grace, or when the drain is forced.
    async fn patience(&self, settings: &Settings, draining: &Draining) {
        let grace = async {
            match self.debug {
                Some(_) => tokio::time::sleep(settings.age_grace).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = grace => {}
            () = draining.reached(Phase::Forced) => {}
        }
    }
}

/// Resolves when the connection is too old, has been idle for too long, or the server drains; to nothing when it must not
/// be waited for, because it holds all it may and takes nothing.
async fn time_to_leave(
    settings: &Settings,
    jitter: u64,
    draining: &Draining,
    control: &Control,
    outbox: &Outbox,
) -> Option<Leave> {
    let too_old = Instant::now() + jittered(settings.age_max, jitter);
    tokio::select! {
        () = draining.begun() => Some(Leave { debug: None }),
        () = sleep_until(too_old) => Some(Leave { debug: Some("max_age") }),
        () = idle(settings.idle_max, control) => Some(Leave { debug: Some("max_idle") }),
        () = outbox.stuck(settings.write_stall) => None,
    }
}

/// Resolves when no stream has been open for all of `max`. Looks as rarely as the answer can change.
async fn idle(max: Duration, control: &Control) {
    let mut look = Instant::now() + max;
    loop {
        sleep_until(look).await;
        let now = Instant::now();
        look = match control.idle_since() {
            Some(since) if since + max <= now => return,
            Some(since) => since + max,
            None => now + max,
        };
    }
}

/// ±10 % (gRFC A9).
fn jittered(age: Duration, random: u64) -> Duration {
    let unit = f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX);
    age.mul_f64(0.9 + 0.2 * unit)
}

/// Whether a connection ever carried a request.
#[derive(Debug, Clone, Default)]
struct Used(Arc<AtomicBool>);

/// Resolves after [`FAREWELL`] if the connection still has not carried a request; otherwise never.
async fn unused(used: &Used) {
    tokio::time::sleep(FAREWELL).await;
    if used.0.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn ended(end: Result<(), BoxError>, control: &Control) -> End {
    match (control.abuse(), end) {
        (Some(abuse), _) => End::Abusive(abuse),
        (None, Ok(())) => End::Orderly,
        (None, Err(error)) if calmed(&*error) => End::Abusive(Abuse::Calmed),
        (None, Err(error)) => End::Failed(error),
    }
}

/// Whether h2 itself sent ENHANCE_YOUR_CALM: too many resets, a header block without an end, a flood of tiny frames.
fn calmed(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) && !h2.is_remote();
        }
        cause = error.source();
    }
    false
}

fn builder(settings: &Settings, streams: Streams) -> (auto::Builder<Streams>, Timeouts) {
    let mut builder = auto::Builder::new(streams);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.concurrent_streams_max)
        .max_header_list_size(settings.header_list_size_bytes_max)
        .max_send_buf_size(settings.send_buffer_size_bytes_max)
        .initial_connection_window_size(settings.receive_buffer_size_bytes_max)
        .initial_stream_window_size(settings.receive_buffer_size_bytes_max)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        // h2 counts over the whole life of a connection, and counts frames that were under way when we answered early: a
        // proxy in front of a server that sheds load would lose every stream in the end. The sentinel counts by rate.
        .max_local_error_reset_streams(None);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.preface_timeout);
    let timeouts = Timeouts {
        preface: settings.preface_timeout,
        header_block: settings.header_timeout,
        write_stall: settings.write_stall,
    };
    (builder, timeouts)
}

/// Spawns the streams of one connection, each under a [`crate::Life`].
#[derive(Clone)]
struct Streams(Arc<(Spawner, Arc<Accounts>)>);

impl Streams {
    /// One handle for all, because hyper takes a clone for each stream.
    fn new(spawner: Spawner, accounts: Arc<Accounts>) -> Self {
        Self(Arc::new((spawner, accounts)))
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (spawner, accounts) = &*self.0;
        spawner.spawn_unpin(StreamTask::new(stream, accounts.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_spread_by_ten_percent_either_way() {
        let age = Duration::from_secs(1000);
        assert_eq!(jittered(age, 0), Duration::from_secs(900));
        assert_eq!(jittered(age, u64::MAX), Duration::from_secs(1100));
    }
}
