//! The rules of gRFC A6, one by one, against a server that follows a script.

use tokio::time::Instant;

use highball::Code;

use super::scripted::Act::{Fail, Hang, Late, ReadAndFail, Reset, Succeed};
use super::scripted::{Act, Scripted};
use super::*;

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// A policy of so many attempts, which waits hardly at all.
fn retry(attempts: u32) -> String {
    format!(
        r#"{{"methodConfig":[{{"name":[{{}}],"retryPolicy":{{"maxAttempts":{attempts},"initialBackoff":"0.001s",
        "maxBackoff":"0.01s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE","ABORTED"]}}}}]}}"#
    )
}

fn hedge(attempts: u32, delay: &str) -> String {
    format!(
        r#"{{"methodConfig":[{{"name":[{{}}],"hedgingPolicy":{{"maxAttempts":{attempts},"hedgingDelay":"{delay}",
        "nonFatalStatusCodes":["UNAVAILABLE"]}}}}]}}"#
    )
}

fn to(server: &Scripted, config: &str) -> Channel {
    let builder = Channel::builder(&format!("static:///{}", server.addr));
    builder.with_service_config(config).build().unwrap()
}

const UNAVAILABLE: Act = Fail(Code::Unavailable, None);

/// What a script comes to: the code the application sees, and the attempts the server saw.
struct Rule {
    what: &'static str,
    config: String,
    script: &'static [Act],
    code: Code,
    attempts: usize,
}

#[tokio::test]
async fn retries_follow_the_policy() {
    let none = "{}".to_owned();
    let rules = [
        Rule { what: "success", config: retry(3), script: &[Succeed], code: Code::Ok, attempts: 1 },
        Rule {
            what: "a retryable code is tried again",
            config: retry(3),
            script: &[UNAVAILABLE, Fail(Code::Aborted, None), Succeed],
            code: Code::Ok,
            attempts: 3,
        },
        Rule {
            what: "maxAttempts counts the first",
            config: retry(3),
            script: &[UNAVAILABLE],
            code: Code::Unavailable,
            attempts: 3,
        },
        Rule {
            what: "more than five attempts are five",
            config: retry(9),
            script: &[UNAVAILABLE],
            code: Code::Unavailable,
            attempts: 5,
        },
        Rule {
            what: "another code is not tried again",
            config: retry(3),
            script: &[Fail(Code::Internal, None)],
            code: Code::Internal,
            attempts: 1,
        },
        Rule {
            what: "without a policy nothing is",
            config: none.clone(),
            script: &[UNAVAILABLE],
            code: Code::Unavailable,
            attempts: 1,
        },
        Rule {
            what: "headers commit the call",
            config: retry(3),
            script: &[Late(Code::Unavailable)],
            code: Code::Unavailable,
            attempts: 1,
        },
        Rule {
            what: "what the server refused is sent again without a policy, once",
            config: none.clone(),
            script: &[Reset(h2::Reason::REFUSED_STREAM), Succeed],
            code: Code::Ok,
            attempts: 2,
        },
        Rule {
            what: "and no more than once",
            config: none.clone(),
            script: &[Reset(h2::Reason::REFUSED_STREAM)],
            code: Code::Unavailable,
            attempts: 2,
        },
        Rule {
            what: "a transparent retry does not count",
            config: retry(2),
            script: &[Reset(h2::Reason::REFUSED_STREAM), UNAVAILABLE, Succeed],
            code: Code::Ok,
            attempts: 3,
        },
        Rule {
            what: "another reset may have been processed",
            config: none,
            script: &[Reset(h2::Reason::INTERNAL_ERROR)],
            code: Code::Internal,
            attempts: 1,
        },
        Rule {
            what: "a negative pushback forbids a retry",
            config: retry(3),
            script: &[Fail(Code::Unavailable, Some((PUSHBACK, "-1")))],
            code: Code::Unavailable,
            attempts: 1,
        },
        Rule {
            what: "so does one that is no number",
            config: retry(3),
            script: &[Fail(Code::Unavailable, Some((PUSHBACK, "later")))],
            code: Code::Unavailable,
            attempts: 1,
        },
        Rule {
            what: "pushback does not add attempts",
            config: retry(2),
            script: &[Fail(Code::Unavailable, Some((PUSHBACK, "1")))],
            code: Code::Unavailable,
            attempts: 2,
        },
        Rule {
            what: "pushback does not make a code retryable",
            config: retry(3),
            script: &[Fail(Code::Internal, Some((PUSHBACK, "1")))],
            code: Code::Internal,
            attempts: 1,
        },
    ];
    for Rule { what, config, script, code, attempts } in rules {
        let server = Scripted::start(script).await;
        let outcome = get(&to(&server, &config)).await;
        assert_eq!((outcome.status.code(), server.attempts()), (code, attempts), "{what}: {outcome:?}");
    }
}

#[tokio::test]
async fn attempts_tell_how_many_there_were_and_transparent_ones_do_not_count() {
    let server =
        Scripted::start(&[UNAVAILABLE, Reset(h2::Reason::REFUSED_STREAM), UNAVAILABLE, Succeed]).await;
    get(&to(&server, &retry(5))).await;
    let told = server.header("grpc-previous-rpc-attempts");
    assert_eq!(told, [None, Some("1".into()), Some("1".into()), Some("2".into())]);
}

#[tokio::test]
async fn the_server_decides_how_long_to_wait() {
    let server = Scripted::start(&[Fail(Code::Unavailable, Some((PUSHBACK, "300"))), Succeed]).await;
    let outcome = get(&to(&server, &retry(3))).await;
    assert_eq!(outcome.status.code(), Code::Ok);
    assert!(server.gaps()[0] >= Duration::from_millis(290), "{:?}", server.gaps());
}

#[tokio::test]
async fn the_deadline_covers_all_attempts_and_each_is_told_what_is_left() {
    let server = Scripted::start(&[Fail(Code::Unavailable, Some((PUSHBACK, "60000")))]).await;
    let mut request = request(GET, b"ping");
    request.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let began = Instant::now();
    let outcome = call(&to(&server, &retry(3)), request).await;
    assert_eq!(outcome.status.code(), Code::DeadlineExceeded, "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "not the minute that the server asked for");
    let left = server.header("grpc-timeout")[0].clone().unwrap();
    assert_ne!(left, "300m", "time has passed since");
}

#[tokio::test]
async fn with_half_of_the_tokens_gone_nothing_is_sent_twice() {
    let server = Scripted::start(&[UNAVAILABLE]).await;
    let config = retry(5).replacen('{', r#"{"retryThrottling":{"maxTokens":4,"tokenRatio":0.5},"#, 1);
    let channel = to(&server, &config);
    get(&channel).await;
    // The second failure leaves two of four tokens, which is not more than half.
    assert_eq!(server.attempts(), 2);
    get(&channel).await;
    assert_eq!(server.attempts(), 3, "not even one retry");
    assert_eq!(channel.snapshot().retry_tokens, Some(1.0));
}

#[tokio::test]
async fn successes_give_tokens_back() {
    let server = Scripted::start(&[UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, Succeed]).await;
    let config = retry(5).replacen('{', r#"{"retryThrottling":{"maxTokens":4,"tokenRatio":0.5},"#, 1);
    let channel = to(&server, &config);
    get(&channel).await;
    get(&channel).await;
    for tokens in [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.0] {
        assert_eq!(get(&channel).await.status.code(), Code::Ok);
        assert_eq!(channel.snapshot().retry_tokens, Some(tokens));
    }
}

#[tokio::test]
async fn a_request_too_large_to_keep_is_sent_once() {
    let large: &'static [u8] = Box::leak(vec![7; 300 << 10].into_boxed_slice());
    let server = Scripted::start(&[ReadAndFail(Code::Unavailable), Succeed]).await;
    let channel = to(&server, &retry(3));
    let outcome = call(&channel, request(GET, large)).await;
    assert_eq!((outcome.status.code(), server.attempts()), (Code::Unavailable, 1), "{outcome:?}");
    let small: &'static [u8] = Box::leak(vec![7; 200 << 10].into_boxed_slice());
    let server = Scripted::start(&[ReadAndFail(Code::Unavailable), Succeed]).await;
    let channel = to(&server, &retry(3));
    let outcome = call(&channel, request(GET, small)).await;
    assert_eq!((outcome.status.code(), server.attempts()), (Code::Ok, 2), "{outcome:?}");
    assert_eq!(channel.snapshot().replay_bytes, 0);
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_given_up_for_the_next() {
    let server = Scripted::start(&[Hang, Succeed]).await;
    let config = retry(3).replace("\"maxAttempts\"", "\"perAttemptRecvTimeout\":\"0.2s\",\"maxAttempts\"");
    let outcome = get(&to(&server, &config)).await;
    assert_eq!((outcome.status.code(), server.attempts()), (Code::Ok, 2), "{outcome:?}");
    server.cancelled(1).await;
}

#[tokio::test]
async fn the_first_hedge_to_answer_wins_and_the_others_are_cancelled() {
    let server = Scripted::start(&[Hang, Hang, Succeed]).await;
    let channel = to(&server, &hedge(3, "0.05s"));
    let outcome = get(&channel).await;
    assert_eq!((outcome.status.code(), server.attempts()), (Code::Ok, 3), "{outcome:?}");
    assert_eq!(server.header("grpc-previous-rpc-attempts"), [None, Some("1".into()), Some("2".into())]);
    tokio::time::timeout(PATIENCE, server.cancelled(2)).await.unwrap();
    assert!(server.gaps().iter().all(|gap| *gap >= Duration::from_millis(45)), "{:?}", server.gaps());
}

#[tokio::test]
async fn hedges_follow_the_policy() {
    let rules = [
        Rule {
            what: "without a delay all are sent at once",
            config: hedge(3, "0s"),
            script: &[Hang, Hang, Succeed],
            code: Code::Ok,
            attempts: 3,
        },
        Rule {
            what: "a failure that is not fatal sends the next at once",
            config: hedge(2, "60s"),
            script: &[UNAVAILABLE, Succeed],
            code: Code::Ok,
            attempts: 2,
        },
        Rule {
            what: "a fatal failure ends the call",
            config: hedge(3, "60s"),
            script: &[Fail(Code::InvalidArgument, None)],
            code: Code::InvalidArgument,
            attempts: 1,
        },
        Rule {
            what: "when all have failed the last failure is the answer",
            config: hedge(3, "60s"),
            script: &[UNAVAILABLE],
            code: Code::Unavailable,
            attempts: 3,
        },
        Rule {
            what: "a negative pushback stops hedging",
            config: hedge(3, "60s"),
            script: &[Fail(Code::Unavailable, Some((PUSHBACK, "-1"))), Succeed],
            code: Code::Unavailable,
            attempts: 1,
        },
        Rule {
            what: "a pushback delays the next",
            config: hedge(2, "60s"),
            script: &[Fail(Code::Unavailable, Some((PUSHBACK, "50"))), Succeed],
            code: Code::Ok,
            attempts: 2,
        },
    ];
    for Rule { what, config, script, code, attempts } in rules {
        let server = Scripted::start(script).await;
        let outcome = get(&to(&server, &config)).await;
        assert_eq!((outcome.status.code(), server.attempts()), (code, attempts), "{what}: {outcome:?}");
    }
}
