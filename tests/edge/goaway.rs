//! Backends that send GOAWAY all the time, or refuse streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highball::Code;
use highball::core::envelope::seal;
use highball_testkit::raw::{END_HEADERS, END_STREAM, PREFACE, Raw, frame, header_block, kind};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::backend::named;
use super::peer::{Peer, Rpc, is_health, linger};
use super::scripted::{Act, Scripted};
use super::world::{File, World};
use super::{GET, HELLO, WATCH};

/// Callers on one connection.
const CALLERS: usize = 30;
/// Calls of each.
const CALLS: usize = 60;

/// ACK of SETTINGS and PING.
const ACK: u8 = 1;

/// Many calls of all kinds at the same time; those that failed.
async fn storm(edge: &World) -> Vec<String> {
    let client = Arc::new(edge.client().await);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (client, path) = (client.clone(), [GET, HELLO, WATCH][caller % 3]);
        callers.spawn(async move {
            let mut failed = Vec::new();
            for _ in 0..CALLS {
                let status = client.unary(path, b"ping").await.status();
                if status.code() != Code::Ok {
                    failed.push(format!("{path}: {status}"));
                }
            }
            failed
        });
    }
    callers.join_all().await.concat()
}

/// Ends each connection politely after so many calls.
async fn leaving_after(calls: usize) -> Peer {
    Peer::start(move |_, io| async move {
        let (io, rest) = linger(io);
        let Ok(mut connection) = h2::server::handshake(io).await else { return };
        let mut left = calls;
        while let Some(Ok((request, respond))) = connection.accept().await {
            let rpc = Rpc { request, respond };
            if is_health(&rpc.request) {
                rpc.fail(Code::Unimplemented);
                continue;
            }
            rpc.succeed();
            left = left.saturating_sub(1);
            if left == 0 {
                connection.graceful_shutdown();
            }
        }
        drop(connection);
        rest.await;
    })
    .await
}

#[tokio::test]
async fn backends_that_all_leave_after_a_few_calls_cost_no_call() {
    let backends = [leaving_after(5).await, leaving_after(8).await, leaving_after(13).await];
    let edge = World::start(&File::to(&backends.each_ref().map(|peer| peer.addr)).text()).await;
    assert_eq!(storm(&edge).await, Vec::<String>::new());
    let made: usize = backends.iter().map(Peer::made).sum();
    println!("{} calls over {made} connections", CALLERS * CALLS);
    assert!(made > 20, "{made}");
    edge.drained().await;
}

/// Answers so many streams of a connection, then sends a GOAWAY that names the last of them, with others on their way. These
/// are `shed`.
async fn shedding(mut io: TcpStream, calls: usize, shed: Arc<AtomicUsize>) {
    let mut preface = [0; PREFACE.len()];
    if io.read_exact(&mut preface).await.is_err() {
        return;
    }
    let mut raw = Raw::over(io);
    raw.send(&frame(kind::SETTINGS, 0, 0, &[])).await;
    let (mut taken, mut last) = (0, 0);
    while let Some(read) = raw.next().await {
        let ends = read.flags & END_STREAM != 0;
        match read.kind {
            kind::SETTINGS | kind::PING if read.flags & ACK == 0 => {
                let payload: &[u8] = if read.kind == kind::PING { &read.payload } else { &[] };
                raw.send(&frame(read.kind, ACK, 0, payload)).await;
            }
            kind::HEADERS if taken == calls => drop(shed.fetch_add(1, Ordering::SeqCst)),
            kind::HEADERS => (taken, last) = (taken + 1, read.stream),
            kind::DATA if ends && read.stream <= last => raw.send(&answer(read.stream)).await,
            _ => {}
        }
        if read.kind == kind::HEADERS && read.stream == last && taken == calls {
            // Until more have come.
            tokio::time::sleep(Duration::from_millis(3)).await;
            let payload = [last.to_be_bytes(), [0; 4]].concat();
            raw.send(&frame(kind::GOAWAY, 0, 0, &payload)).await;
        }
    }
}

fn answer(stream: u32) -> Vec<u8> {
    let head = header_block(&[(":status", "200"), ("content-type", "application/grpc")]);
    let end = header_block(&[("grpc-status", "0")]);
    let mut bytes = frame(kind::HEADERS, END_HEADERS, stream, &head);
    bytes.extend(frame(kind::DATA, 0, stream, &seal(b"done")));
    bytes.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &end));
    bytes
}

#[tokio::test]
async fn streams_beyond_the_last_one_of_a_goaway_are_sent_elsewhere() {
    let shed = Arc::<AtomicUsize>::default();
    let counted = shed.clone();
    let stormy = Peer::start(move |_, io| shedding(io, 5, counted.clone())).await;
    let calm = named("calm").await;
    let edge = File::to(&[stormy.addr, calm.addr()]).cluster("health = false").ready().await;
    assert_eq!(storm(&edge).await, Vec::<String>::new());
    let shed = shed.load(Ordering::SeqCst);
    println!("{shed} of {} calls were shed, over {} connections", CALLERS * CALLS, stormy.made());
    assert!(shed > 0, "there was something to send again");
    // It is no failure, and the backend is used on.
    assert!(stormy.made() > 10, "{} connections", stormy.made());
    assert!(!edge.telemetry.render().contains("channel_ejections_total{target=\"shop\",result=\"ejected\"}"));
    edge.drained().await;
    calm.drained().await;
}

#[tokio::test]
async fn a_refused_stream_is_sent_once_more_and_no_more() {
    const REFUSED: Act = Act::Reset(h2::Reason::REFUSED_STREAM);
    for (script, code) in [(&[REFUSED, Act::Succeed][..], Code::Ok), (&[REFUSED], Code::Unavailable)] {
        let backend = Scripted::start(script).await;
        let edge = File::to(&[backend.addr]).ready().await;
        let client = edge.client().await;
        let reply = client.unary(GET, b"ping").await;
        assert_eq!((reply.code(), backend.attempts()), (code, 2), "{reply:?}");
        drop(client);
        edge.drained().await;
    }
}
