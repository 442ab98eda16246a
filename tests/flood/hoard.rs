//! Clients that ask for more than they take.

use std::time::Duration;

use highball::Code;
use highball_testkit::raw::{END_HEADERS, frame, grpc_headers, grpc_request, header_block, kind};

use crate::lab::Lab;
use crate::{BULK, BULK_SIZE, GET, WATCH, with};

/// Short, so that the test is; the default is 60 s.
const SOON: Duration = Duration::from_millis(200);

/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;

/// As wide as a window may be.
const WIDE: u32 = 0x7fff_ffff;

const STREAMS: u32 = 1000;

/// What one connection may hold in the tests below, far less than `STREAMS * BULK_SIZE`.
const BUFFERED: usize = 16 << 20;

/// What a stream of both ends costs without its messages, generously.
const STREAM_SIZE_BYTES: usize = 12 << 10;

fn requests(path: &str) -> Vec<u8> {
    (0..STREAMS).flat_map(|n| grpc_request(2 * n + 1, path, b"")).collect()
}

#[tokio::test]
async fn a_reader_that_grants_no_window_loses_its_streams_and_nothing_else() {
    const STREAMS: u32 = 100;
    let lab = Lab::open(with(|connection| connection.write_stall = SOON)).await;
    // The server may send heads, and not one byte of a message.
    let mut hoarder = lab.attacker(&[(INITIAL_WINDOW, 0)]).await;
    for n in 0..STREAMS {
        hoarder.send(&grpc_request(2 * n + 1, WATCH, b"")).await;
    }
    for _ in 0..STREAMS {
        let reset = hoarder.find(|frame| frame.kind == kind::RST_STREAM).await.expect("the connection lives");
        assert_eq!(&reset.payload[..], [0, 0, 0, 8], "CANCEL");
    }
    for line in [
        "grpc_active_requests{method=\"shop.v1.Shop/Watch\"} 0",
        "limit_hits_total{limit=\"write_stall\"} 100",
        "grpc_requests_total{method=\"shop.v1.Shop/Watch\",code=\"CANCELLED\"} 100",
    ] {
        lab.expect_line(line).await;
    }
    // The connection itself did nothing wrong.
    hoarder.send(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])).await;
    hoarder.send(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])).await;
    hoarder.send(&grpc_request(2 * STREAMS + 1, GET, b"")).await;
    hoarder.find(|frame| frame.kind == kind::DATA).await.expect("an answer");
    lab.aftermath(hoarder).await;
}

#[tokio::test]
async fn the_deadline_ends_a_stream_whose_reader_stalls() {
    let lab = Lab::open(with(|_| {})).await;
    let mut hoarder = lab.attacker(&[(INITIAL_WINDOW, 0)]).await;
    let mut headers = grpc_headers(WATCH);
    headers.extend(header_block(&[("grpc-timeout", "200m")]));
    hoarder.send(&frame(kind::HEADERS, END_HEADERS | 1, 1, &headers)).await;
    hoarder.find(|frame| frame.kind == kind::RST_STREAM).await.expect("a reset");
    lab.expect_line("grpc_requests_total{method=\"shop.v1.Shop/Watch\",code=\"DEADLINE_EXCEEDED\"} 1").await;
    lab.aftermath(hoarder).await;
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_at_all_is_closed() {
    let lab = Lab::open(with(|connection| connection.write_stall = SOON)).await;
    // A huge window, so that only the kernel's buffers hold the server back.
    let mut deaf = lab.attacker(&[(INITIAL_WINDOW, WIDE)]).await;
    deaf.send(&frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])).await;
    deaf.send(&grpc_request(1, WATCH, b"")).await;
    lab.expect_abuse("write_stall").await;
    lab.aftermath(deaf).await;
}

/// `window` is what the hoarder adds to the window of its connection; its streams are as wide as can be.
async fn hoards(window: Option<u32>) {
    let lab = Lab::open(with(|connection| {
        connection.buffered_size_bytes_max = BUFFERED;
        connection.write_stall = 5 * SOON;
    }))
    .await;
    let mut hoarder = lab.attacker(&[(INITIAL_WINDOW, WIDE)]).await;
    if let Some(window) = window {
        hoarder.send(&frame(kind::WINDOW_UPDATE, 0, 0, &window.to_be_bytes())).await;
    }
    hoarder.send(&requests(BULK)).await;
    lab.expect_page(|page| page.contains("limit_hits_total{limit=\"buffered_size\"}")).await;
    lab.expect_abuse("write_stall").await;
    let streams = STREAMS as usize * STREAM_SIZE_BYTES;
    assert!(lab.peak() > BUFFERED, "{} bytes: it never came to the bound", lab.peak());
    assert!(lab.peak() < BUFFERED + 2 * BULK_SIZE + streams, "{} bytes", lab.peak());
    lab.aftermath(hoarder).await;
}

#[tokio::test]
async fn a_thousand_large_responses_for_a_connection_without_a_window_are_not_made() {
    hoards(None).await;
}

#[tokio::test]
async fn a_thousand_large_responses_for_a_reader_that_reads_nothing_are_not_made() {
    hoards(Some(WIDE - 65_535)).await;
}

#[tokio::test]
async fn responses_that_waited_for_each_other_all_arrive() {
    let lab = Lab::open(with(|connection| connection.buffered_size_bytes_max = 2 * BULK_SIZE)).await;
    let client = lab.server.client().await;
    let calls: Vec<_> = (0..60).map(|_| client.unary(BULK, b"")).collect();
    let replies = futures_util::future::join_all(calls).await;
    for reply in &replies {
        assert_eq!((reply.code(), reply.messages[0].len()), (Code::Ok, BULK_SIZE));
    }
    drop(replies);
    lab.expect_page(|page| page.contains("limit_hits_total{limit=\"buffered_size\"}")).await;
    lab.aftermath(client).await;
}

#[tokio::test]
async fn a_response_that_waits_for_room_still_has_its_deadline() {
    let lab = Lab::open(with(|connection| connection.buffered_size_bytes_max = BULK_SIZE)).await;
    let mut hoarder = lab.attacker(&[(INITIAL_WINDOW, 0)]).await;
    // Two that fill the room and get no window; the third never gets any.
    hoarder.send(&grpc_request(1, BULK, b"")).await;
    hoarder.send(&grpc_request(3, BULK, b"")).await;
    hoarder.find(|frame| frame.stream == 3).await.expect("a head");
    let mut headers = grpc_headers(GET);
    headers.extend(header_block(&[("grpc-timeout", "200m")]));
    hoarder.send(&frame(kind::HEADERS, END_HEADERS, 5, &headers)).await;
    hoarder.send(&frame(kind::DATA, 1, 5, &[0; 5])).await;
    lab.expect_line("grpc_requests_total{method=\"shop.v1.Shop/Get\",code=\"DEADLINE_EXCEEDED\"} 1").await;
    lab.aftermath(hoarder).await;
}

#[tokio::test]
async fn messages_that_are_begun_and_not_ended_are_bounded_over_the_connection() {
    const PIECE: usize = 3 << 10;
    const BEGUN: u32 = 20;
    let lab = Lab::open(with(|connection| connection.unfinished_size_bytes_max = 10 * PIECE)).await;
    let mut beginner = lab.attacker(&[]).await;
    // All but the last quarter of a message each. Together less than the first window of a connection.
    let mut piece = vec![0, 0, 0, 0x10, 0];
    piece.resize(PIECE, 7);
    for n in 0..BEGUN {
        beginner.send(&frame(kind::HEADERS, END_HEADERS, 2 * n + 1, &grpc_headers(GET))).await;
        beginner.send(&frame(kind::DATA, 0, 2 * n + 1, &piece)).await;
    }
    // The ten that fit wait for the rest; the others were told.
    lab.expect_line("limit_hits_total{limit=\"unfinished_size\"} 10").await;
    lab.expect_line("grpc_requests_total{method=\"shop.v1.Shop/Get\",code=\"RESOURCE_EXHAUSTED\"} 10").await;
    // One that is finished makes room for another.
    beginner.send(&frame(kind::DATA, 1, 1, &[7; (4 << 10) + 5 - PIECE])).await;
    beginner.find(|frame| frame.kind == kind::DATA && frame.stream == 1).await.expect("an answer");
    lab.aftermath(beginner).await;
}
