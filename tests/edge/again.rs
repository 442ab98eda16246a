//! Calls that are made again, as their route says, and for how long a stream may be silent.

use std::time::Duration;

use highball::Code;
use highball::core::envelope::seal;

use super::made::{Recorder, answer};
use super::peer::Peer;
use super::scripted::{Act, Scripted};
use super::world::{File, World};
use super::{CHAT, GET, HELLO, PATIENCE};

const NO: Act = Act::Fail(Code::Unavailable, None);

/// An edge before one backend, with this on its route.
async fn before(backend: &Scripted, route: &str) -> World {
    File::to(&[backend.addr]).cluster("outlier = false").route(route).ready().await
}

/// The code of one call, and how many attempts the backend saw of it.
async fn tried(script: &[Act], route: &str, method: &str, message: &[u8]) -> (Code, usize) {
    let backend = Scripted::start(script).await;
    let edge = before(&backend, route).await;
    let client = edge.client().await;
    let reply = tokio::time::timeout(PATIENCE, client.unary(method, message)).await.unwrap();
    drop(client);
    edge.drained().await;
    (reply.code(), backend.attempts())
}

#[tokio::test]
async fn a_route_says_how_often_and_after_which_codes_a_call_is_made_again() {
    let twice = [NO, NO, Act::Succeed];
    let aborted = [Act::Fail(Code::Aborted, None), Act::Succeed];
    let quick = "retry = { attempts = 3, backoff = '1ms' }";
    for (script, route, method, want) in [
        (&twice[..], quick, GET, (Code::Ok, 3)),
        (&twice[..], "retry = { attempts = 2, backoff = '1ms' }", GET, (Code::Unavailable, 2)),
        (&aborted[..], quick, GET, (Code::Aborted, 1)),
        (&aborted[..], "retry = { codes = ['ABORTED'], backoff = '1ms' }", GET, (Code::Ok, 2)),
        // Without a word of the route: what may be repeated is, and nothing else.
        (&twice[..], "", GET, (Code::Unavailable, 1)),
        (&twice[..], "", HELLO, (Code::Ok, 3)),
        (&twice[..], "retry = false", HELLO, (Code::Unavailable, 1)),
        (&[Act::Reset(h2::Reason::REFUSED_STREAM), Act::Succeed], "retry = false", GET, (Code::Ok, 2)),
    ] {
        assert_eq!(tried(script, route, method, b"hello").await, want, "{script:?} {route} {method}");
    }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_made_again() {
    let route = "retry = { attempts = 2, backoff = '1ms', per_attempt_timeout = '100ms' }";
    let backend = Scripted::start(&[Act::Hang, Act::Succeed]).await;
    let edge = before(&backend, route).await;
    let client = edge.client().await;
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    tokio::time::timeout(PATIENCE, backend.cancelled(1)).await.unwrap();
    assert_eq!(backend.attempts(), 2);
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_hedge_answers_when_the_first_attempt_does_not() {
    let backend = Scripted::start(&[Act::Hang, Act::Succeed]).await;
    let edge = before(&backend, "hedge = { delay = '50ms', attempts = 2 }").await;
    let client = edge.client().await;
    assert_eq!(client.unary(HELLO, b"").await.code(), Code::Ok);
    tokio::time::timeout(PATIENCE, backend.cancelled(1)).await.unwrap();
    assert_eq!(backend.attempts(), 2);
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_sent_once() {
    let script = [Act::ReadAndFail(Code::Unavailable), Act::Succeed];
    let route = "retry = { attempts = 3, backoff = '1ms' }";
    assert_eq!(tried(&script, route, GET, &[1; 200 << 10]).await, (Code::Ok, 2));
    assert_eq!(tried(&script, route, GET, &[1; 300 << 10]).await, (Code::Unavailable, 1));
}

#[tokio::test]
async fn retries_stop_when_the_cluster_has_no_tokens_left() {
    let backend = Scripted::start(&[NO]).await;
    let route = "retry = { attempts = 5, backoff = '1ms' }";
    let edge =
        File::to(&[backend.addr]).cluster("outlier = false\nretry_tokens = 10").route(route).ready().await;
    let client = edge.client().await;
    for _ in 0..20 {
        assert_eq!(client.unary(GET, b"").await.code(), Code::Unavailable);
    }
    // Five failures take the tokens to half: four attempts beside the first of each call.
    assert_eq!(backend.attempts(), 20 + 4);
    drop(client);
    edge.drained().await;
}

/// A backend of streams that echo, and say nothing by themselves.
async fn echo() -> Peer {
    Peer::rpcs(|mut rpc| async move {
        let mut stream = rpc.respond.send_response(super::scripted::head(), false).unwrap();
        let body = rpc.request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        stream.send_trailers(super::scripted::status(Code::Ok)).ok();
    })
    .await
}

/// What becomes of a stream that is silent for a while: its code, and whether it could still echo.
async fn silent(limit: &str, route: &str, pause: Duration) -> (Option<Code>, bool) {
    let backend = echo().await;
    let edge = File::to(&[backend.addr]).route(route).limits(limit).ready().await;
    let client = edge.client().await;
    let mut call = client.open(CHAT, &[]).await;
    call.send(b"one").await;
    let (mut sender, mut answer) = call.head().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), "one");
    tokio::time::sleep(pause).await;
    sender.send_data(seal(b"two")).await.ok();
    drop(sender);
    let echoed = tokio::time::timeout(PATIENCE, answer.message()).await.expect("it ends");
    let echoed = matches!(echoed, Ok(Some(_)));
    while let Ok(Some(_)) = tokio::time::timeout(PATIENCE, answer.message()).await.expect("it ends") {}
    let code = answer.status().map(|status| status.code());
    drop((answer, client));
    edge.drained().await;
    (code, echoed)
}

#[tokio::test]
async fn a_route_may_allow_more_silence_than_the_server_or_less() {
    let pause = Duration::from_millis(2500);
    let server = "stream_idle = '500ms'";
    let (own, longer, never, shorter) = tokio::join!(
        silent(server, "", pause),
        silent(server, "stream_idle = '1h'", pause),
        silent(server, "stream_idle = '0s'", pause),
        silent("", "stream_idle = '300ms'", pause),
    );
    assert_eq!((longer, never), ((Some(Code::Ok), true), (Some(Code::Ok), true)));
    assert_eq!((own.1, shorter.1), (false, false));
    assert_eq!(own.0, shorter.0, "as the server says it");
    assert!(own.0.is_some_and(|code| code != Code::Ok), "{own:?}");
}

#[tokio::test]
async fn a_unary_call_is_not_ended_for_its_silence() {
    let backend = Peer::rpcs(|rpc| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer(rpc, &[b"late"]);
    })
    .await;
    let edge = File::to(&[backend.addr]).route("stream_idle = '100ms'").ready().await;
    let client = edge.client().await;
    assert_eq!(client.unary(GET, b"").await.code(), Code::Ok);
    drop(client);
    edge.drained().await;
    drop(Recorder::start("").await);
}
