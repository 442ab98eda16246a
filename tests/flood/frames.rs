//! Floods of frames that are each allowed.

use highball::Code;
use highball_testkit::raw::{
    self, END_HEADERS, END_STREAM, Raw, frame, grpc_headers, grpc_request, header_block, kind,
};

use crate::lab::Lab;
use crate::{ENHANCE_YOUR_CALM, GET, Settings, WATCH, with};

/// Far more than any burst.
const FLOOD: usize = 20_000;

/// Sends `first`, then a flood of `frame`.
async fn attack(first: &[u8], frame: &[u8], abuse: &str) {
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    attacker.send(first).await;
    attacker.send(&frame.repeat(FLOOD)).await;
    lab.expect_calmed(&mut attacker, abuse).await;
    lab.aftermath(attacker).await;
}

#[tokio::test]
async fn a_ping_flood_is_too_many_pings() {
    attack(&[], &frame(kind::PING, 0, 0, &[0; 8]), "too_many_pings").await;
}

#[tokio::test]
async fn a_settings_flood_is_stopped() {
    attack(&[], &frame(kind::SETTINGS, 0, 0, &[]), "too_many_settings").await;
}

#[tokio::test]
async fn a_priority_flood_is_stopped() {
    attack(&[], &frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16]), "too_many_priorities").await;
}

#[tokio::test]
async fn a_flood_of_window_updates_that_no_data_earned_is_stopped() {
    attack(&[], &frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), "too_many_window_updates").await;
}

#[tokio::test]
async fn acknowledgements_nobody_asked_for_are_stray() {
    attack(&[], &frame(kind::PING, 1, 0, &[0; 8]), "stray_frames").await;
}

#[tokio::test]
async fn frames_of_unknown_types_are_stray() {
    attack(&[], &frame(0xbe, 0, 0, b"what"), "stray_frames").await;
}

#[tokio::test]
async fn empty_data_frames_are_stopped() {
    let head = frame(kind::HEADERS, END_HEADERS, 1, &grpc_headers(GET));
    attack(&head, &frame(kind::DATA, 0, 1, &[]), "empty_data").await;
}

#[tokio::test]
async fn data_in_crumbs_is_stopped() {
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    attacker.send(&frame(kind::HEADERS, END_HEADERS, 1, &grpc_headers(GET))).await;
    // A message of 1 MiB, byte by byte.
    attacker.send(&frame(kind::DATA, 0, 1, &[0, 0, 0x10, 0, 0])).await;
    attacker.send(&frame(kind::DATA, 0, 1, &[7]).repeat(3 * FLOOD)).await;
    let (code, _) = attacker.ended().await.expect("a GOAWAY");
    assert_eq!(code, ENHANCE_YOUR_CALM, "h2 counts frames that carry next to nothing");
    lab.expect_abuse("calmed").await;
    lab.aftermath(attacker).await;
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
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    attacker.send(&(0..5000).flat_map(pair).collect::<Vec<u8>>()).await;
    let (code, _) = attacker.ended().await.expect("a GOAWAY");
    assert_eq!(code, ENHANCE_YOUR_CALM);
    // Whichever of the two watchers saw it first: ours by rate, or h2's by streams that were never accepted.
    lab.expect_page(|page| {
        ["too_many_resets", "calmed"]
            .iter()
            .any(|kind| page.contains(&format!("h2_abuse_total{{kind=\"{kind}\"}} 1")))
    })
    .await;
    lab.aftermath(attacker).await;
}

#[tokio::test]
async fn a_header_block_without_an_end_is_cut_off() {
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    attacker.send(&frame(kind::HEADERS, 0, 1, &grpc_headers(GET))).await;
    attacker.send(&frame(kind::CONTINUATION, 0, 1, &header_block(&[("x", "y")])).repeat(FLOOD)).await;
    let (code, _) = attacker.ended().await.expect("a GOAWAY");
    assert_eq!(code, ENHANCE_YOUR_CALM, "h2 counts continuation frames");
    lab.expect_abuse("calmed").await;
    lab.aftermath(attacker).await;
}

#[tokio::test]
async fn a_polite_client_that_is_busy_is_never_mistaken_for_a_flood() {
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    for _ in 0..2000 {
        assert_eq!(client.unary(GET, b"ping").await.code(), Code::Ok);
    }
    assert!(!lab.server.telemetry.render().contains("h2_abuse_total{"));
    lab.aftermath(client).await;
}

#[tokio::test]
async fn connections_of_one_address_are_bounded() {
    let lab = Lab::open(Settings { connections_per_peer_max: 2, ..with(|_| {}) }).await;
    let (first, second) = (lab.server.client().await, lab.server.client().await);
    assert_eq!(first.unary(GET, b"ping").await.code(), Code::Ok);
    let mut third = Raw::silent(lab.server.addr()).await;
    assert_eq!(third.next().await, None, "closed at once");
    lab.expect_line("limit_hits_total{limit=\"connections_per_peer\"} 1").await;
    assert_eq!(first.unary(GET, b"ping").await.code(), Code::Ok);
    drop((first, third));
    let again = loop {
        let mut client = lab.attacker(&[]).await;
        client.send(&grpc_request(1, GET, b"ping")).await;
        if client.find(|frame| frame.kind == raw::kind::DATA).await.is_some() {
            break client;
        }
    };
    drop((second, again));
    lab.expect_page(|page| page.contains("connections_open 0\n")).await;
    lab.aftermath(()).await;
}

#[tokio::test]
async fn streams_beyond_the_announced_number_are_refused_one_by_one() {
    const STREAMS: u32 = 200;
    let lab = Lab::open(with(|connection| connection.concurrent_streams_max = 100)).await;
    let mut attacker = lab.attacker(&[(4, 0)]).await;
    for n in 0..STREAMS {
        attacker.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &grpc_headers(WATCH))).await;
    }
    for _ in 100..STREAMS {
        let refused =
            attacker.find(|frame| frame.kind == kind::RST_STREAM).await.expect("the connection lives");
        assert_eq!(&refused.payload[..], [0, 0, 0, 7], "REFUSED_STREAM");
    }
    lab.expect_line("grpc_active_requests{method=\"shop.v1.Shop/Watch\"} 100").await;
    lab.aftermath(attacker).await;
}
