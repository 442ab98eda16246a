//! Frames that the server must answer with a reset, over and over: its own resets are counted like those of a client
//! (CVE-2025-8671, CVE-2019-9514).

use highball_testkit::raw::{END_HEADERS, END_STREAM, frame, grpc_headers, header_block, kind};

use crate::lab::Lab;
use crate::{GET, Settings, WATCH};

const PROTOCOL_ERROR: u32 = 1;

/// What opens a stream properly, and `wrong` after it.
fn opened(stream: u32, wrong: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = frame(kind::HEADERS, END_HEADERS, stream, &grpc_headers(WATCH));
    bytes.extend(wrong(stream));
    bytes
}

fn attack(of_stream: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..2000).flat_map(|n| of_stream(2 * n + 1)).collect()
}

/// Each is a stream error, of which there may be some.
async fn is_counted(of_stream: impl Fn(u32) -> Vec<u8>) {
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    attacker.send(&attack(of_stream)).await;
    lab.expect_calmed(&mut attacker, "provoked_resets").await;
    lab.aftermath(attacker).await;
}

/// The first is a connection error: nothing is left to be counted.
async fn ends_at_once(wrong: impl Fn(u32) -> Vec<u8>) {
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    attacker.send(&attack(|stream| opened(stream, &wrong))).await;
    assert_eq!(attacker.ended().await.expect("a GOAWAY").0, PROTOCOL_ERROR);
    lab.aftermath(attacker).await;
}

#[tokio::test]
async fn windows_that_overflow_are_counted() {
    let overflow = |stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
    is_counted(|stream| opened(stream, overflow)).await;
}

#[tokio::test]
async fn streams_that_depend_on_themselves_are_counted() {
    let dependent = |stream: u32| {
        let [a, b, c, d] = stream.to_be_bytes();
        frame(kind::PRIORITY, 0, stream, &[a, b, c, d, 16])
    };
    is_counted(|stream| opened(stream, dependent)).await;
}

#[tokio::test]
async fn headers_that_must_be_reset_are_counted() {
    let block =
        header_block(&[(":method", "POST"), (":method", "POST"), (":path", GET), (":scheme", "http")]);
    is_counted(|stream| frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)).await;
}

#[tokio::test]
async fn window_updates_of_nothing_end_the_connection() {
    ends_at_once(|stream| frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4])).await;
}

#[tokio::test]
async fn priorities_of_a_wrong_size_end_the_connection() {
    ends_at_once(|stream| frame(kind::PRIORITY, 0, stream, &[0; 4])).await;
}

#[tokio::test]
async fn data_after_the_end_ends_the_connection() {
    ends_at_once(|stream| frame(kind::DATA, END_STREAM, stream, &[0; 5]).repeat(2)).await;
}

#[tokio::test]
async fn headers_after_the_end_end_the_connection() {
    ends_at_once(|stream| {
        let mut bytes = frame(kind::DATA, END_STREAM, stream, &[0; 5]);
        bytes.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &header_block(&[("a", "b")])));
        bytes
    })
    .await;
}

#[tokio::test]
async fn frames_on_streams_that_never_were_end_the_connection() {
    ends_at_once(|stream| frame(kind::DATA, 0, stream + 4000, &[0; 5])).await;
}
