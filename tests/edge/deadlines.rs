//! Deadlines: what backends see of them, and what callers get.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use highball::Code;
use tokio::sync::mpsc;

use super::peer::{Peer, Rpc};
use super::world::{File, World};
use super::{GET, HELLO, WATCH};

/// A backend that says how much time each call has, and the edge in front of it.
async fn timed(file: impl FnOnce(File) -> File) -> (World, mpsc::Receiver<Option<Duration>>, Peer) {
    let (tell, told) = mpsc::channel(10);
    let backend = Peer::rpcs(move |rpc: Rpc| {
        let tell = tell.clone();
        async move {
            let header =
                rpc.request.headers().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
            tell.send(header.as_deref().map(duration)).await.unwrap();
            rpc.succeed();
        }
    })
    .await;
    (file(File::to(&[backend.addr])).ready().await, told, backend)
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap();
    match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        _ => Duration::from_nanos(number),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_backend_sees_what_is_left_and_never_more() {
    // What a call waits at the edge is gone.
    let (edge, mut told, _backend) = timed(|file| file.route("fault = { delay = '100ms' }")).await;
    let client = edge.client().await;
    for path in [GET, WATCH, "/some.Unknown/Method"] {
        for (sent, most) in [("60S", 60 * SECOND), ("1M", 60 * SECOND), ("59000m", 59 * SECOND)] {
            let reply = client.call(path, &[("grpc-timeout", sent)], &[b""]).await;
            assert_eq!(reply.code(), Code::Ok, "{reply:?}");
            let seen = told.recv().await.unwrap().expect("a deadline");
            assert!(seen <= most - Duration::from_millis(100), "{path}: {seen:?} of {sent}");
        }
    }
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_route_caps_the_deadlines_of_unary_methods_and_of_no_stream() {
    let (edge, mut told, _backend) = timed(|file| file.route("deadline = '20s'")).await;
    let client = edge.client().await;
    // The method, what the caller asks for, and the most that the backend may see.
    for (path, sent, most) in [
        (GET, Some("100S"), Some(20)),
        (GET, None, Some(20)),
        (GET, Some("10S"), Some(10)),
        (WATCH, Some("100S"), Some(100)),
        (WATCH, None, None),
        ("/some.Unknown/Method", Some("100S"), Some(100)),
        ("/some.Unknown/Method", None, None),
    ] {
        let headers: Vec<_> = sent.iter().map(|sent| ("grpc-timeout", *sent)).collect();
        let reply = client.call(path, &headers, &[b""]).await;
        assert_eq!(reply.code(), Code::Ok, "{reply:?}");
        let seen = told.recv().await.unwrap();
        assert_eq!(seen.is_some(), most.is_some(), "{path} {sent:?}: {seen:?}");
        if let (Some(seen), Some(most)) = (seen, most) {
            assert!(seen <= most * SECOND, "{path} {sent:?}: {seen:?}");
            // Not the cap of another.
            assert!(most <= 20 || seen > 20 * SECOND, "{path} {sent:?}: {seen:?}");
        }
    }
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_unary_call_without_a_deadline_gets_the_default_one() {
    let (edge, mut told, _backend) =
        timed(|file| file.limits("deadline_default = '7s'\ndeadline_cap = '9s'")).await;
    let client = edge.client().await;
    for (headers, most) in [(&[][..], 7), (&[("grpc-timeout", "1H")], 9)] {
        assert_eq!(client.call(GET, headers, &[b""]).await.code(), Code::Ok);
        let seen = told.recv().await.unwrap().expect("a deadline");
        assert!(seen <= most * SECOND, "{seen:?}");
    }
    drop(client);
    edge.drained().await;
}

/// How 100 calls with a deadline end, of a backend that answers after so long.
async fn hundred(path: &'static str, after: Option<Duration>, head_first: bool) {
    let backend = Peer::rpcs(move |mut rpc: Rpc| async move {
        let held = head_first.then(|| rpc.respond.send_response(super::scripted::head(), false).unwrap());
        match after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
        // The edge may have reset it.
        match held {
            Some(mut stream) => drop(stream.send_trailers(super::scripted::status(Code::Ok))),
            None => drop(rpc.respond.send_response(super::scripted::head(), true)),
        }
    })
    .await;
    let edge = File::to(&[backend.addr]).ready().await;
    let client = Arc::new(edge.client().await);
    let calls = (0..100).map(|_| client.call(path, &[("grpc-timeout", "200m")], &[b"ping"]));
    for reply in join_all(calls).await {
        assert_eq!(reply.code(), Code::DeadlineExceeded, "{path}: {reply:?}");
    }
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_backend_that_never_answers_is_deadline_exceeded_each_time() {
    for path in [GET, HELLO, WATCH] {
        hundred(path, None, false).await;
        hundred(path, None, true).await;
    }
}

#[tokio::test]
async fn a_backend_that_answers_late_is_deadline_exceeded_each_time() {
    let late = Some(Duration::from_secs(1));
    for path in [GET, HELLO, WATCH] {
        hundred(path, late, false).await;
        hundred(path, late, true).await;
    }
}
