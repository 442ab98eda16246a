//! Clients that take their time.

use std::time::Duration;

use highball_testkit::raw::{END_HEADERS, PREFACE, Raw, frame, grpc_headers, grpc_request, kind};

use crate::{GET, WATCH, expect_calmed, expect_counted, expect_unharmed, server, with};

/// Short, so that the test is; the defaults are 10 s and 60 s.
const SOON: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let server = server(with(|connection| connection.preface_timeout = SOON)).await;
    let mut silent = Raw::silent(server.addr()).await;
    assert_eq!(silent.next().await, None);
    expect_unharmed(server, "preface_timeout").await;
}

#[tokio::test]
async fn a_client_that_stops_within_its_preface_or_before_its_settings_is_closed() {
    let server = server(with(|connection| connection.preface_timeout = SOON)).await;
    for part in [&PREFACE[..10], PREFACE] {
        let mut slow = Raw::silent(server.addr()).await;
        slow.send(part).await;
        assert!(slow.find(|frame| frame.kind == kind::DATA).await.is_none(), "{part:?}");
    }
    expect_counted(&server, |page| page.contains("h2_abuse_total{kind=\"preface_timeout\"} 2")).await;
    server.drained().await;
}

#[tokio::test]
async fn a_header_block_that_does_not_end_is_timed() {
    let server = server(with(|connection| connection.header_timeout = SOON)).await;
    let mut slow = Raw::connect(server.addr(), &[]).await;
    slow.send(&frame(kind::HEADERS, 0, 1, &grpc_headers(GET))).await;
    expect_calmed(server, slow, "header_timeout").await;
}

#[tokio::test]
async fn a_reader_that_grants_no_window_loses_its_streams_and_nothing_else() {
    // SETTINGS_INITIAL_WINDOW_SIZE = 0: the server may send heads, and not one byte of a message.
    const INITIAL_WINDOW: u16 = 4;
    const STREAMS: u32 = 100;
    let server = server(with(|connection| connection.write_stall = SOON)).await;
    let mut hoarder = Raw::connect(server.addr(), &[(INITIAL_WINDOW, 0)]).await;
    for n in 0..STREAMS {
        hoarder.send(&grpc_request(2 * n + 1, WATCH, b"")).await;
    }
    for _ in 0..STREAMS {
        let reset = hoarder.find(|frame| frame.kind == kind::RST_STREAM).await.expect("the connection lives");
        assert_eq!(&reset.payload[..], [0, 0, 0, 8], "CANCEL");
    }
    expect_counted(&server, |page| page.contains("grpc_active_requests{method=\"shop.v1.Shop/Watch\"} 0"))
        .await;
    let page = server.telemetry.render();
    for line in [
        "limit_hits_total{limit=\"write_stall\"} 100",
        "grpc_requests_total{method=\"shop.v1.Shop/Watch\",code=\"CANCELLED\"} 100",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    // The connection itself did nothing wrong.
    hoarder.send(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])).await;
    hoarder.send(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])).await;
    hoarder.send(&grpc_request(2 * STREAMS + 1, GET, b"")).await;
    hoarder.find(|frame| frame.kind == kind::DATA).await.expect("an answer");
    drop(hoarder);
    server.drained().await;
}

#[tokio::test]
async fn the_deadline_ends_a_stream_whose_reader_stalls() {
    let server = server(with(|_| {})).await;
    let mut hoarder = Raw::connect(server.addr(), &[(4, 0)]).await;
    let mut headers = grpc_headers(WATCH);
    headers.extend(highball_testkit::raw::header_block(&[("grpc-timeout", "200m")]));
    hoarder.send(&frame(kind::HEADERS, END_HEADERS | 1, 1, &headers)).await;
    hoarder.find(|frame| frame.kind == kind::RST_STREAM).await.expect("a reset");
    let line = "grpc_requests_total{method=\"shop.v1.Shop/Watch\",code=\"DEADLINE_EXCEEDED\"} 1";
    expect_counted(&server, |page| page.contains(line)).await;
    drop(hoarder);
    server.drained().await;
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_at_all_is_closed() {
    let server = server(with(|connection| connection.write_stall = SOON)).await;
    // A huge window, so that only the kernel's buffers hold the server back.
    let mut deaf = Raw::connect(server.addr(), &[(4, 0x7fff_ffff)]).await;
    deaf.send(&frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])).await;
    deaf.send(&grpc_request(1, WATCH, b"")).await;
    expect_unharmed(server, "write_stall").await;
    drop(deaf);
}
