//! Servers that misbehave: what they may cost is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;

use h2::server::Builder;
use highball::Code;
use highball::channel::{Settings, State};
use highball::core::BackoffSettings;
use tokio::io::AsyncWriteExt as _;

use super::peer::{Peer, Rpc, is_health, linger, serve, serve_all, until};
use super::scripted::{head, status};
use super::*;

/// Runs on a thread of its own, so that a task that never yields fails the test instead of hanging it.
fn watched<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
        done.send(()).unwrap();
    });
    match finished.recv_timeout(PATIENCE) {
        Ok(()) => {}
        Err(RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
        Err(RecvTimeoutError::Timeout) => panic!("a task never yields"),
    }
}

/// Ends each connection with GOAWAY after so many calls.
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

#[test]
fn a_storm_of_goaways_costs_no_call() {
    watched(|| async {
        let peer = leaving_after(20).await;
        let mut settings = Settings::default();
        settings.backoff = BackoffSettings {
            initial: Duration::from_millis(10),
            multiplier: 1.0,
            ..BackoffSettings::default()
        };
        let channel = Channel::builder(&peer.target()).with_settings(settings).build().unwrap();
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let channel = channel.clone();
            callers.spawn(async move {
                for _ in 0..10 {
                    // Whatever the connection does, there is somebody who calls before the channel can react.
                    tokio::task::yield_now().await;
                    let outcome = get(&channel).await;
                    assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
                }
            });
        }
        while let Some(done) = callers.join_next().await {
            done.unwrap();
        }
        assert!(peer.made() > 5, "{}", peer.made());
    });
}

#[tokio::test]
async fn a_server_that_drops_its_connections_is_not_hammered_and_calls_do_not_wait_for_it() {
    let peer = Peer::start(|_, mut io| async move {
        // SETTINGS, and then nothing any more.
        io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    })
    .await;
    let channel = Channel::new(&peer.target()).unwrap();
    // The first may have found the connection while it was there.
    get(&channel).await;
    until("it is known for what it is", || channel.state() == State::TransientFailure).await;
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unavailable, "{outcome:?}");
    assert!(outcome.status.message().contains("ends at once"), "{outcome:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(peer.made() <= 3, "{}", peer.made());
}

#[tokio::test]
async fn a_server_that_says_goodbye_politely_is_reconnected_to_at_once() {
    let peer = leaving_after(1).await;
    let mut settings = Settings::default();
    // Nobody waits for that.
    settings.backoff = BackoffSettings { initial: Duration::from_secs(60), ..BackoffSettings::default() };
    let channel = Channel::builder(&peer.target()).with_settings(settings).build().unwrap();
    for call in 0..2 {
        let outcome = get(&channel).await;
        assert_eq!(outcome.status.code(), Code::Ok, "{call}: {outcome:?}");
    }
    assert_eq!(peer.made(), 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_health_checks_is_used_all_the_same() {
    let peer = Peer::start(|_, io| {
        serve_all(io, Builder::new(), |rpc| async move {
            if is_health(&rpc.request) {
                let _held = rpc;
                std::future::pending::<()>().await;
            } else {
                rpc.succeed();
            }
        })
    })
    .await;
    let channel = Channel::new(&peer.target()).unwrap();
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_server_that_refuses_health_checks_is_used_at_once_and_is_not_worse_than_others() {
    let peer = Peer::start(|_, io| {
        serve_all(io, Builder::new(), |rpc| async move {
            if is_health(&rpc.request) { rpc.fail(Code::Unauthenticated) } else { rpc.succeed() }
        })
    })
    .await;
    let mut settings = Settings::default();
    settings.backoff = BackoffSettings { initial: Duration::from_secs(60), ..BackoffSettings::default() };
    let channel = Channel::builder(&peer.target()).with_settings(settings).build().unwrap();
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
    assert_eq!(channel.snapshot().endpoints[0].trouble, None);
}

#[tokio::test]
async fn a_health_watch_that_ends_at_once_is_not_begun_again_at_once() {
    let watches = Arc::new(AtomicUsize::new(0));
    let seen = watches.clone();
    let peer = Peer::start(move |_, io| {
        let seen = seen.clone();
        serve_all(io, Builder::new(), move |mut rpc| {
            if is_health(&rpc.request) {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            async move {
                let mut stream = rpc.respond.send_response(head(), false).unwrap();
                stream.send_data(seal(&[8, 1]), false).unwrap();
                stream.send_trailers(status(Code::Ok)).unwrap();
            }
        })
    })
    .await;
    let channel = Channel::new(&peer.target()).unwrap();
    tokio::time::timeout(PATIENCE, channel.ready()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let watches = watches.load(Ordering::SeqCst);
    assert!(watches <= 3, "{watches} in half a second");
}

#[tokio::test]
async fn a_response_without_any_status_is_unknown() {
    let peer = Peer::rpcs(|mut rpc| async move {
        rpc.respond.send_response(head(), true).unwrap();
    })
    .await;
    let channel = Channel::new(&peer.target()).unwrap();
    let outcome = get(&channel).await;
    assert_eq!(outcome.status.code(), Code::Unknown, "{outcome:?}");
}

#[tokio::test]
async fn a_status_in_the_head_counts_although_an_empty_body_follows() {
    let peer = Peer::rpcs(|mut rpc| async move {
        let mut response = head();
        response.headers_mut().extend(status(Code::NotFound));
        let mut stream = rpc.respond.send_response(response, false).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let channel = Channel::new(&peer.target()).unwrap();
    let response = channel.call(request(GET, b"ping")).await;
    assert!(!response.headers().contains_key("grpc-status"), "it is not over yet: {response:?}");
    let outcome = Outcome::of(response).await;
    assert_eq!(outcome.status.code(), Code::NotFound, "{outcome:?}");
}

#[tokio::test]
async fn a_request_with_headers_of_http_1_is_sent_without_them() {
    let peer = Peer::rpcs(|rpc| async move {
        let names =
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "x-hop", "host"];
        if names.iter().any(|name| rpc.request.headers().contains_key(*name)) {
            rpc.fail(Code::Internal);
        } else {
            rpc.succeed();
        }
    })
    .await;
    let channel = Channel::new(&peer.target()).unwrap();
    let mut hop = request(GET, b"ping");
    for (name, value) in [
        ("connection", "keep-alive, x-hop"),
        ("keep-alive", "5"),
        ("transfer-encoding", "chunked"),
        ("x-hop", "1"),
    ] {
        hop.headers_mut().insert(name, value.parse().unwrap());
    }
    let outcome = call(&channel, hop).await;
    assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
}

#[tokio::test]
async fn calls_that_the_application_does_not_finish_are_not_held_against_the_server() {
    let peer = Peer::rpcs(|mut rpc| async move {
        rpc.read().await;
        rpc.succeed();
    })
    .await;
    let other = Peer::rpcs(|rpc| async { rpc.succeed() }).await;
    let target = format!("static:///{},{}", peer.addr, other.addr);
    let channel = Channel::new(&target).unwrap();
    until("both are ready", || {
        channel.connect();
        let endpoints = channel.snapshot().endpoints;
        endpoints.len() == 2 && endpoints.iter().all(|endpoint| endpoint.state == "READY")
    })
    .await;
    let unfinished = || async {
        let frames =
            futures_util::stream::pending::<Result<http_body::Frame<Bytes>, std::convert::Infallible>>();
        let mut request = Request::post(CHAT).body(http_body_util::StreamBody::new(frames)).unwrap();
        request.headers_mut().insert("grpc-timeout", "50m".parse().unwrap());
        Outcome::of(channel.call(request).await).await
    };
    let outcomes = futures_util::future::join_all((0..16).map(|_| unfinished())).await;
    assert!(outcomes.iter().any(|outcome| outcome.status.code() == Code::DeadlineExceeded), "{outcomes:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let snapshot = channel.snapshot();
    assert!(snapshot.endpoints.iter().all(|endpoint| endpoint.ejected.is_none()), "{snapshot:?}");
}

#[tokio::test]
async fn what_a_caller_hears_names_no_address_and_no_path() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not an endpoint").unwrap();
    let file = file.path().display().to_string();
    for (target, secret) in [
        (format!("static:///{addr}"), "127.0.0.1"),
        (format!("ipv4:{addr}"), "127.0.0.1"),
        ("unix:///run/secret.sock".to_owned(), "secret"),
        ("file:///etc/secret".to_owned(), "secret"),
        (format!("file://{file}"), file.as_str()),
    ] {
        let channel = Channel::new(&target).unwrap();
        let plain = get(&channel).await;
        let mut patient = request(GET, b"ping");
        patient.headers_mut().insert("grpc-timeout", "50m".parse().unwrap());
        patient.extensions_mut().insert(highball::WaitForReady(true));
        let patient = call(&channel, patient).await;
        for outcome in [plain, patient] {
            let message = outcome.status.message();
            assert!(!message.contains(secret), "{target}: {message}");
        }
    }
}

#[test]
fn a_full_endpoint_does_not_hold_up_calls_that_others_could_take() {
    watched(|| async {
        let one_stream = || {
            let mut builder = Builder::new();
            builder.max_concurrent_streams(1);
            builder
        };
        // Their only stream is taken for ever.
        let stubborn = async || {
            let held = |rpc: Rpc| async move {
                let _held = rpc;
                std::future::pending::<()>().await;
            };
            Peer::start(move |_, io| serve(io, one_stream(), held)).await
        };
        let busy = [stubborn().await, stubborn().await, stubborn().await];
        let free = Peer::rpcs(|rpc| async { rpc.succeed() }).await;
        let mut settings = Settings::default();
        settings.health = false;
        let addrs = busy.each_ref().map(|peer| peer.addr.to_string()).join(",");
        let target = format!("static:///{addrs},{}", free.addr);
        let channel = Channel::builder(&target).with_settings(settings).build().unwrap();
        until("all are ready", || {
            channel.connect();
            let endpoints = channel.snapshot().endpoints;
            endpoints.len() == 4 && endpoints.iter().all(|endpoint| endpoint.state == "READY")
        })
        .await;
        // One of these goes to each.
        let mut held = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let channel = channel.clone();
            held.spawn(async move { drop(channel.call(request(WATCH, b"")).await) });
        }
        held.join_next().await.unwrap().unwrap();
        for _ in 0..20 {
            let outcome = get(&channel).await;
            assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
        }
    });
}
