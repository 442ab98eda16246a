//! What is known of an RPC wherever its handler calls, and the work that is done for nobody.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use highball::core::envelope::seal;
use highball::{Body, Code, Current, current};
use highball_testkit::{TestServer, stub};
use http::{Request, Response};
use http_body::Frame;

use crate::{GET, WATCH, host};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What something deep inside a handler can tell, without having been handed anything.
fn told() -> String {
    let Some(rpc) = current::capture() else { return "nothing".to_owned() };
    let trace = current::trace().map(|trace| (trace.traceparent, trace.tracestate));
    let allowed = current::deadline().map(|deadline| deadline.allowed());
    format!("{} {allowed:?} {trace:?}", rpc.rpc().method)
}

/// Tells it at its first poll, after it waited, in a task of its own, and from its response.
async fn tell(_: Request<Body>) -> Response<Body> {
    let first = told();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let later = told();
    let spawned = tokio::spawn(current::inherit(async { told() })).await.unwrap();
    let forgotten = tokio::spawn(async { told() }).await.unwrap();
    let said = stream::iter([first, later, spawned, forgotten])
        .chain(stream::once(async { told() }))
        .map(|text| Ok(Frame::data(seal(text.as_bytes()))));
    let end = Frame::trailers(highball::Status::new(Code::Ok, "").to_trailers());
    stub::frames(said.chain(stream::iter([Ok(end)])))
}

#[tokio::test]
async fn whatever_a_handler_calls_finds_its_rpc_and_nobody_elses() {
    let server = TestServer::start(host(tell)).await;
    let client = server.client().await;
    let with_trace =
        [("grpc-timeout", "7S"), ("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
    let (unary, watch) = tokio::join!(client.call(GET, &with_trace, &[b""]), client.call(WATCH, &[], &[b""]));
    let unary_told = format!("shop.v1.Shop/Get Some(7s) Some((\"{PARENT}\", Some(\"a=1,b=2\")))");
    let expected = |told: &str| [told, told, told, "nothing", told].map(str::to_owned);
    assert_eq!(unary.messages, expected(&unary_told));
    assert_eq!(watch.messages, expected("shop.v1.Shop/Watch None None"));
    assert_eq!(told(), "nothing");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_trace_that_is_none_is_not_passed_on() {
    let server = TestServer::start(host(tell)).await;
    let client = server.client().await;
    let reply = client.call(WATCH, &[("traceparent", "00-zz"), ("tracestate", "a=1")], &[b""]).await;
    assert_eq!(reply.messages[0], "shop.v1.Shop/Watch None None");
    drop(client);
    server.drained().await;
}

/// Times of work for nobody, by method and reason.
fn wasted(server: &TestServer, method: &str, after: &str) -> u64 {
    let page = server.telemetry.render();
    let line =
        format!("grpc_wasted_work_seconds_count{{method=\"shop.v1.Shop/{method}\",after=\"{after}\"}} ");
    page.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "what a handler must not do")]
fn block() {
    std::thread::sleep(Duration::from_millis(150));
}

#[tokio::test]
async fn a_handler_that_blocks_beyond_its_deadline_is_measured() {
    for waits_after in [false, true] {
        let blocking = move |_: Request<Body>| async move {
            block();
            if waits_after {
                std::future::pending::<()>().await;
            }
            stub::messages(&[b"late"])
        };
        let server = TestServer::start(host(blocking)).await;
        let client = server.client().await;
        let reply = client.call(GET, &[("grpc-timeout", "50m")], &[b""]).await;
        assert_eq!((reply.code(), reply.messages.len()), (Code::DeadlineExceeded, 0));
        assert_eq!(wasted(&server, "Get", "deadline"), 1);
        drop(client);
        server.drained().await;
    }
}

#[tokio::test]
async fn a_response_that_blocks_beyond_its_deadline_is_measured() {
    let blocking = |_: Request<Body>| async {
        let messages = stream::iter([(); 3]).map(|()| {
            block();
            Ok(Frame::data(seal(b"slow")))
        });
        stub::frames(messages)
    };
    let server = TestServer::start(host(blocking)).await;
    let client = server.client().await;
    let reply = client.call(WATCH, &[("grpc-timeout", "200m")], &[b""]).await;
    assert_eq!((reply.code(), reply.messages.len()), (Code::DeadlineExceeded, 2));
    assert_eq!(wasted(&server, "Watch", "deadline"), 1);
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_handler_that_only_waits_for_its_deadline_wastes_nothing() {
    let waiting = |_: Request<Body>| async {
        // Woken all the time, also at the deadline and beyond.
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let server = TestServer::start(host(waiting)).await;
    let client = server.client().await;
    let reply = client.call(GET, &[("grpc-timeout", "50m")], &[b""]).await;
    assert_eq!(reply.code(), Code::DeadlineExceeded);
    let page = server.telemetry.render();
    assert!(!page.contains("grpc_wasted_work_seconds_count{"), "{page}");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn detached_work_is_measured_when_its_rpc_is_over_and_not_answered() {
    let (tell, mut told) = tokio::sync::mpsc::channel::<Current>(1);
    let detaching = move |_: Request<Body>| {
        let tell = tell.clone();
        async move {
            tell.send(current::capture().expect("a handler")).await.expect("the test listens");
            std::future::pending().await
        }
    };
    let server = TestServer::start(host(detaching)).await;
    let client = server.client().await;

    let call = client.open(GET, &[("grpc-timeout", "1H")]).await;
    let cancelled = told.recv().await.unwrap();
    let work = cancelled.work();
    assert!(!cancelled.is_over());
    drop(call);
    cancelled.over().await;
    drop(work);
    assert_eq!((wasted(&server, "Get", "cancellation"), wasted(&server, "Get", "deadline")), (1, 0));

    let late = client.open(GET, &[("grpc-timeout", "20m")]).await;
    let expired = told.recv().await.unwrap();
    let work = expired.work();
    expired.over().await;
    drop(work);
    assert_eq!((wasted(&server, "Get", "cancellation"), wasted(&server, "Get", "deadline")), (1, 1));
    drop((late, client));
    server.drained().await;
}
