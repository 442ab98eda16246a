//! What a server must say first.

use highball_net::Tasks;
use highball_net::client::{ConnectError, ConnectErrorKind, Settings, handshake};
use tokio::io::{AsyncWriteExt as _, duplex};

use crate::world::*;

/// What becomes of a handshake with a server that says this, and then closes or not.
async fn answered(bytes: &[u8], closes: bool) -> ConnectError {
    let (ours, mut theirs) = duplex(64 << 10);
    let tasks = Tasks::new();
    theirs.write_all(bytes).await.expect("the pipe is long enough");
    if closes {
        theirs.shutdown().await.expect("a pipe");
    }
    let outcome = soon(handshake(Box::new(ours), &Settings::default(), &tasks.spawner())).await;
    assert_eq!(tasks.running(), 0);
    outcome.expect_err("no handshake")
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_told_by_its_name() {
    let error = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n", false).await;
    assert_eq!(error.kind(), ConnectErrorKind::Http1);
    assert!(error.to_string().contains("HTTP/1.1"), "{error}");

    let error = answered(&[0x15, 3, 1, 0, 2, 2, 0x46], true).await;
    assert_eq!(error.kind(), ConnectErrorKind::Tls);
    assert!(error.to_string().contains("dial it with TLS"), "{error}");

    let error = answered(b"SSH-2.0-OpenSSH_9.9\r\n", false).await;
    assert_eq!(error.kind(), ConnectErrorKind::NotHttp2);
}

#[tokio::test]
async fn a_first_frame_that_is_not_settings_is_not_http2() {
    let error = answered(&frame(frames::PING, 0, 0, &[0; 8]), false).await;
    assert_eq!(error.kind(), ConnectErrorKind::NotHttp2);
}

#[tokio::test]
async fn a_server_that_hangs_up_is_lost() {
    let error = answered(b"", true).await;
    assert_eq!(error.kind(), ConnectErrorKind::Lost);
    let error = answered(b"HT", true).await;
    assert_eq!(error.kind(), ConnectErrorKind::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_says_nothing_is_not_there() {
    let error = answered(b"", false).await;
    assert_eq!(error.kind(), ConnectErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn settings_that_never_end_are_none() {
    let error = answered(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3], false).await;
    assert_eq!(error.kind(), ConnectErrorKind::Timeout);
}

#[tokio::test]
async fn settings_may_come_in_pieces() {
    let (ours, theirs) = duplex(64 << 10);
    let tasks = Tasks::new();
    let spawner = tasks.spawner();
    let (mut raw, settings) = (Raw(theirs), Settings::default());
    let (client, ()) = tokio::join!(handshake(Box::new(ours), &settings, &spawner), async {
        raw.preface().await;
        for byte in settings_frame(&[(99, 7), (3, 5)]) {
            raw.say(&[byte]).await;
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(client.expect("a handshake").streams_max(), 5);
}
