//! Floods of frames that are each allowed, and frames that are not.

use highball::Code;
use highball_testkit::raw::{
    self, END_HEADERS, END_STREAM, Raw, frame, grpc_headers, grpc_request, header_block, kind,
};

use crate::{GET, Settings, WATCH, expect_calmed, expect_counted, expect_unharmed, server, with};

/// Far more than any burst.
const FLOOD: usize = 20_000;

async fn attack(bytes: Vec<u8>, abuse: &str) {
    let server = server(Settings::default()).await;
    let mut attacker = Raw::connect(server.addr(), &[]).await;
    attacker.send(&bytes).await;
    expect_calmed(server, attacker, abuse).await;
}

#[tokio::test]
async fn a_ping_flood_is_too_many_pings() {
    attack(frame(kind::PING, 0, 0, &[0; 8]).repeat(FLOOD), "too_many_pings").await;
}

#[tokio::test]
async fn a_settings_flood_is_stopped() {
    attack(frame(kind::SETTINGS, 0, 0, &[]).repeat(FLOOD), "too_many_settings").await;
}

#[tokio::test]
async fn a_priority_flood_is_stopped() {
    attack(frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16]).repeat(FLOOD), "too_many_priorities").await;
}

#[tokio::test]
async fn a_flood_of_window_updates_that_no_data_earned_is_stopped() {
    attack(frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(FLOOD), "too_many_window_updates").await;
}

#[tokio::test]
async fn acknowledgements_nobody_asked_for_are_stray() {
    attack(frame(kind::PING, 1, 0, &[0; 8]).repeat(FLOOD), "stray_frames").await;
}

#[tokio::test]
async fn frames_of_unknown_types_are_stray() {
    attack(frame(0xbe, 0, 0, b"what").repeat(FLOOD), "stray_frames").await;
}

#[tokio::test]
async fn empty_data_frames_are_stopped() {
    let mut bytes = frame(kind::HEADERS, END_HEADERS, 1, &grpc_headers(GET));
    bytes.extend(frame(kind::DATA, 0, 1, &[]).repeat(FLOOD));
    attack(bytes, "empty_data").await;
}

#[tokio::test]
async fn rapid_reset_is_stopped_and_multiplies_no_work() {
    let headers = grpc_headers(GET);
    let pair = |n: u32| {
        let stream = 2 * n + 1;
        let mut pair = frame(kind::HEADERS, END_HEADERS, stream, &headers);
        pair.extend(frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        pair
    };
    let server = server(Settings::default()).await;
    let mut attacker = Raw::connect(server.addr(), &[]).await;
    attacker.send(&(0..5000).flat_map(pair).collect::<Vec<u8>>()).await;
    let (code, _) = attacker.ended().await.expect("a GOAWAY");
    assert_eq!(code, crate::ENHANCE_YOUR_CALM);
    // Whichever of the two watchers saw it first: ours by rate, or h2's by streams that were never accepted.
    expect_counted(&server, |page| {
        ["too_many_resets", "calmed"]
            .iter()
            .any(|kind| page.contains(&format!("h2_abuse_total{{kind=\"{kind}\"}} 1")))
    })
    .await;
    assert_eq!(server.client().await.unary(GET, b"ping").await.code(), Code::Ok);
    server.forced().await;
}

#[tokio::test]
async fn making_the_server_reset_streams_is_counted_like_resetting_them() {
    // A window beyond 2^31-1 is a stream error: the server must reset (CVE-2025-8671).
    let headers = grpc_headers(WATCH);
    let pair = |n: u32| {
        let stream = 2 * n + 1;
        let mut pair = frame(kind::HEADERS, END_HEADERS, stream, &headers);
        pair.extend(frame(kind::WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
        pair
    };
    attack((0..2000).flat_map(pair).collect(), "provoked_resets").await;
}

#[tokio::test]
async fn a_header_block_without_an_end_is_cut_off() {
    let server = server(Settings::default()).await;
    let mut attacker = Raw::connect(server.addr(), &[]).await;
    attacker.send(&frame(kind::HEADERS, 0, 1, &grpc_headers(GET))).await;
    attacker.send(&frame(kind::CONTINUATION, 0, 1, &header_block(&[("x", "y")])).repeat(FLOOD)).await;
    let (code, _) = attacker.ended().await.expect("a GOAWAY");
    assert_eq!(code, crate::ENHANCE_YOUR_CALM, "h2 counts continuation frames");
    expect_unharmed(server, "calmed").await;
}

#[tokio::test]
async fn a_header_list_beyond_the_limit_is_refused_and_the_connection_lives() {
    let server = server(Settings::default()).await;
    let mut client = Raw::connect(server.addr(), &[]).await;
    let mut block = grpc_headers(GET);
    let value = "v".repeat(120);
    for n in 0..160 {
        block.extend(header_block(&[(&format!("x-{n}"), &value)]));
    }
    let (first, rest) = block.split_at(16_000);
    client.send(&frame(kind::HEADERS, END_STREAM, 1, first)).await;
    client.send(&frame(kind::CONTINUATION, END_HEADERS, 1, rest)).await;
    client.send(&grpc_request(3, GET, b"ping")).await;
    let refused = client.find(|frame| frame.stream == 1).await.expect("an answer");
    assert!(matches!(refused.kind, kind::HEADERS | kind::RST_STREAM), "{refused:?}");
    client
        .find(|frame| frame.stream == 3 && frame.kind == kind::DATA)
        .await
        .expect("the next RPC is answered");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn bad_pseudo_headers_cost_one_stream() {
    let server = server(Settings::default()).await;
    let mut client = Raw::connect(server.addr(), &[]).await;
    let twice =
        header_block(&[(":method", "POST"), (":method", "POST"), (":path", GET), (":scheme", "http")]);
    let late = header_block(&[(":method", "POST"), ("te", "trailers"), (":path", GET), (":scheme", "http")]);
    for (stream, block) in [(1, twice), (3, late)] {
        client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)).await;
        let reset = client.find(|frame| frame.stream == stream).await.expect("an answer");
        assert_eq!((reset.kind, &reset.payload[..]), (kind::RST_STREAM, &[0, 0, 0, 1][..]), "PROTOCOL_ERROR");
    }
    client.send(&grpc_request(7, GET, b"ping")).await;
    client
        .find(|frame| frame.stream == 7 && frame.kind == kind::DATA)
        .await
        .expect("the next RPC is answered");
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn a_polite_client_that_is_busy_is_never_mistaken_for_a_flood() {
    let server = server(Settings::default()).await;
    let client = server.client().await;
    for _ in 0..2000 {
        assert_eq!(client.unary(GET, b"ping").await.code(), Code::Ok);
    }
    drop(client);
    assert!(!server.telemetry.render().contains("h2_abuse_total{"));
    server.drained().await;
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let settings = Settings { connections_per_peer_max: 2, ..with(|_| {}) };
    let server = server(settings).await;
    let (first, _second) = (server.client().await, server.client().await);
    assert_eq!(first.unary(GET, b"ping").await.code(), Code::Ok);
    let mut third = Raw::silent(server.addr()).await;
    assert_eq!(third.next().await, None, "closed at once");
    assert!(server.telemetry.render().contains("limit_hits_total{limit=\"connections_per_peer\"} 1"));
    assert_eq!(first.unary(GET, b"ping").await.code(), Code::Ok);
    drop(first);
    let again = loop {
        let mut client = Raw::connect(server.addr(), &[]).await;
        client.send(&grpc_request(1, GET, b"ping")).await;
        if client.find(|frame| frame.kind == raw::kind::DATA).await.is_some() {
            break client;
        }
    };
    drop(again);
    server.forced().await;
}
