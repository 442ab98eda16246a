//! Clients that take their time.

use std::time::Duration;

use highball::server::Settings;
use highball_testkit::raw::{END_HEADERS, PREFACE, Raw, frame, grpc_headers, kind};

use crate::lab::Lab;
use crate::{GET, with};

/// Short, so that the test is; the defaults are 10 s and more.
const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let lab = Lab::open(with(|connection| connection.preface_timeout = SOON)).await;
    let mut silent = Raw::silent(lab.server.addr()).await;
    assert_eq!(silent.next().await, None);
    lab.expect_abuse("preface_timeout").await;
    lab.aftermath(silent).await;
}

#[tokio::test]
async fn a_client_that_stops_within_its_preface_or_before_its_settings_is_closed() {
    let lab = Lab::open(with(|connection| connection.preface_timeout = SOON)).await;
    for part in [&PREFACE[..10], PREFACE] {
        let mut slow = Raw::silent(lab.server.addr()).await;
        slow.send(part).await;
        assert!(slow.find(|frame| frame.kind == kind::DATA).await.is_none(), "{part:?}");
    }
    lab.expect_line("h2_abuse_total{kind=\"preface_timeout\"} 2").await;
    lab.aftermath(()).await;
}

#[tokio::test]
async fn a_header_block_that_does_not_end_is_timed() {
    let lab = Lab::open(with(|connection| connection.header_timeout = SOON)).await;
    let mut slow = lab.attacker(&[]).await;
    slow.send(&frame(kind::HEADERS, 0, 1, &grpc_headers(GET))).await;
    lab.expect_calmed(&mut slow, "header_timeout").await;
    lab.aftermath(slow).await;
}

#[tokio::test]
async fn a_message_that_does_not_end_has_the_deadline_of_its_method() {
    let settings = Settings { deadline_default: SOON, ..Settings::default() };
    let lab = Lab::open(settings).await;
    let mut slow = lab.attacker(&[]).await;
    for stream in [1, 3] {
        slow.send(&frame(kind::HEADERS, END_HEADERS, stream, &grpc_headers(GET))).await;
        slow.send(&frame(kind::DATA, 0, stream, &[0, 0, 1, 0, 0, 7])).await;
        slow.find(|frame| frame.stream == stream && frame.kind == kind::HEADERS).await.expect("an answer");
    }
    lab.expect_line("grpc_requests_total{method=\"shop.v1.Shop/Get\",code=\"DEADLINE_EXCEEDED\"} 2").await;
    lab.aftermath(slow).await;
}

#[tokio::test]
async fn pings_that_are_only_a_little_too_frequent_are_struck_out_one_by_one() {
    let lab = Lab::open(Settings::default()).await;
    let mut eager = lab.attacker(&[(4, 0)]).await;
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    // The first sets the clock, two are forgiven, and nothing of a response forgives them again.
    for _ in 0..3 {
        eager.send(&ping).await;
        eager.find(|frame| frame.kind == kind::PING && frame.flags == 1).await.expect("an answer");
    }
    eager.send(&ping).await;
    lab.expect_calmed(&mut eager, "too_many_pings").await;
    lab.aftermath(eager).await;
}
