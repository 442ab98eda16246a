//! The line of an RPC: the keys and the order that `tracing` would give it, without the way through it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use highball_core::{Caller, Connection};
use tokio::time::Instant;

use super::line::{Line, now};
use super::queue::Queue;
use crate::RpcEnd;
use crate::event::{cut, rpc_target};

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// What a thread keeps from line to line.
struct Scratch {
    /// The line being written; it keeps its memory.
    line: Line,
    peers: Peers,
    clocks: Clocks,
}

impl Scratch {
    const fn new() -> Self {
        Self { line: Line::new(), peers: Peers([const { (0, String::new()) }; PEERS]), clocks: Clocks(None) }
    }
}

/// The two clocks, read at the same moment: the end of an RPC was read from one of them, its line tells the other.
struct Clocks(Option<(Instant, SystemTime)>);

/// How long they are taken to run alike.
const ALIKE: Duration = Duration::from_millis(100);

impl Clocks {
    /// The wall clock at a moment just past.
    fn wall(&mut self, at: Instant) -> SystemTime {
        if let Some((instant, wall)) = self.0
            && let Some(since) = at.checked_duration_since(instant).filter(|since| *since < ALIKE)
        {
            return wall + since;
        }
        let wall = now();
        self.0 = Some((at, wall));
        wall
    }
}

/// Connections whose peers are kept as they are written.
const PEERS: usize = 16;

/// By the number of the connection, which no other ever has.
struct Peers([(u64, String); PEERS]);

impl Peers {
    fn text(&mut self, connection: &Connection) -> &str {
        let Connection { id, peer, .. } = connection;
        let (of, text) = &mut self.0[*id as usize % PEERS];
        if *of != *id || text.is_empty() {
            (*of, *text) = (*id, peer.to_string());
        }
        text
    }
}

/// Writes the line and hands it over.
pub(super) fn write(queue: &Queue, level: &'static str, end: &RpcEnd<'_>) {
    // Fails only while the thread ends; what it still reports is not lost for the metrics.
    SCRATCH
        .try_with(|scratch| {
            let Scratch { line, peers, clocks } = &mut *scratch.borrow_mut();
            line.clear();
            line.begin(level, clocks.wall(end.rpc.started + end.duration));
            format(line, peers, end);
            queue.push(line.bytes());
        })
        .ok();
}

fn format(line: &mut Line, peers: &mut Peers, end: &RpcEnd<'_>) {
    let rpc = end.rpc;
    line.raw(",\"message\":\"rpc\",\"method\":");
    line.text(cut(rpc.method.full_name()));
    line.raw(",\"code\":\"");
    line.raw(end.status.code().name());
    line.raw("\"");
    if !end.status.message().is_empty() {
        line.raw(",\"error\":");
        line.text(end.status.message());
    }
    line.raw(",\"duration_ms\":");
    millis(line, end.duration);
    line.raw(",\"peer\":\"");
    line.raw(peers.text(&rpc.connection));
    line.raw("\"");
    if !rpc.caller.is_anonymous() {
        line.raw(",\"caller\":");
        match &rpc.caller {
            // As it displays, without the formatter.
            Caller { certificate: None, token: Some(token), .. } => line.text(&token.subject),
            caller => {
                line.raw("\"");
                line.escape(caller);
                line.raw("\"");
            }
        }
    }
    line.raw(",\"connection\":");
    line.number(rpc.connection.id);
    line.raw(",\"dialect\":\"");
    line.raw(rpc.dialect.name());
    line.raw("\"");
    if let Some(deadline) = rpc.deadline {
        line.raw(",\"deadline_ms\":");
        millis(line, deadline.allowed());
    }
    for (key, value) in [
        (",\"messages_in\":", end.inbound.0),
        (",\"bytes_in\":", end.inbound.1),
        (",\"messages_out\":", end.outbound.0),
        (",\"bytes_out\":", end.outbound.1),
    ] {
        line.raw(key);
        line.number(value);
    }
    if let Some(trace) = end.trace {
        line.raw(",\"trace_id\":\"");
        line.escape(trace);
        line.raw("\"");
    }
    line.raw(concat!(",\"target\":\"", rpc_target!(), "\"}\n"));
}

/// As a float is written: `0.25`, `12.0`. To the microsecond: that is plenty, and keeps the line short.
fn millis(line: &mut Line, duration: Duration) {
    let part = u64::from(duration.subsec_nanos() + 500) / 1000;
    let micros = duration.as_secs().saturating_mul(1_000_000).saturating_add(part);
    line.number(micros / 1000);
    let part = micros % 1000;
    line.raw(".");
    match (part % 10, part % 100) {
        (_, 0) => line.digits(part / 100, 1),
        (0, _) => line.digits(part / 10, 2),
        _ => line.digits(part, 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Telemetry;
    use crate::log::line::JsonLine;
    use highball_core::Peer;
    use highball_core::caller::Token;
    use highball_core::{Code, Deadline, DeadlineOrigin, Dialect, Method, MethodKind, Rpc, Status};
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn without_time(line: &[u8]) -> String {
        let line = String::from_utf8(line.to_vec()).unwrap();
        line.split_once(",\"level\":").unwrap().1.to_owned()
    }

    #[test]
    fn the_line_is_the_one_that_tracing_would_write() {
        let meter = Telemetry::new().method("a.v1.B/C");
        let tell = |peer: &str, subject: Option<&str>, status: &Status, deadline: Option<Duration>, quiet| {
            let token =
                subject.map(|subject| Arc::new(Token { subject: subject.to_owned(), ..Token::default() }));
            let caller = Caller { token, ..Caller::default() };
            let peer = Peer::Tcp(peer.parse().unwrap());
            let started = Instant::now();
            let rpc = Rpc {
                method: Method::parse(&"/a.v1.B/C".parse().unwrap()).unwrap(),
                kind: MethodKind::Unary,
                dialect: Dialect::Grpc,
                deadline: deadline.map(|allowed| Deadline::after(started, allowed, DeadlineOrigin::Caller)),
                caller,
                started,
                connection: Arc::new(Connection { id: 7, peer, caller: Caller::default() }),
            };
            let duration = Duration::from_nanos(1_234_567_890);
            let end = RpcEnd {
                rpc: &rpc,
                meter: &meter,
                status,
                duration,
                inbound: (1, 20),
                outbound: (3, 4_000_000),
                trace: None,
                quiet,
            };
            let Scratch { mut line, mut peers, mut clocks } = Scratch::new();
            line.begin(if quiet { "DEBUG" } else { "INFO" }, clocks.wall(started));
            format(&mut line, &mut peers, &end);
            let written = Written::default();
            let out = written.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .event_format(JsonLine)
                .with_writer(move || out.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || crate::event::log_rpc(&end));
            assert_eq!(without_time(line.bytes()), without_time(&written.0.lock().unwrap()));
        };
        let ok = Status::new(Code::Ok, "");
        tell("10.20.30.4:50000", Some("ann \"\u{1}"), &ok, Some(Duration::from_millis(1500)), false);
        tell("[::1]:9", None, &Status::new(Code::Internal, "broken \\ \n"), None, true);
    }

    #[test]
    fn milliseconds_are_written_as_floats() {
        for (nanos, want) in [
            (0, "0.0"),
            (499, "0.0"),
            (500, "0.001"),
            (10_000, "0.01"),
            (250_400, "0.25"),
            (1_001_000, "1.001"),
            (12_000_000, "12.0"),
            (300_000_000_000, "300000.0"),
        ] {
            let mut line = Line::new();
            millis(&mut line, Duration::from_nanos(nanos));
            assert_eq!(line.bytes(), want.as_bytes());
        }
    }
}
