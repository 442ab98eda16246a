//! Heads of requests that are too large, malformed, or not gRPC.

use highball::Code;
use highball_testkit::raw::{
    END_HEADERS, END_STREAM, Raw, frame, grpc_headers, grpc_request, header_block, kind,
};

use crate::lab::Lab;
use crate::{ENHANCE_YOUR_CALM, GET, Settings};

async fn is_served(client: &mut Raw, stream: u32) {
    client.send(&grpc_request(stream, GET, b"ping")).await;
    let answer = client.find(|frame| frame.stream == stream && frame.kind == kind::DATA).await;
    answer.expect("the next RPC is answered");
}

#[tokio::test]
async fn a_header_list_beyond_the_limit_is_refused_and_the_connection_lives() {
    let mut block = grpc_headers(GET);
    let value = "v".repeat(120);
    for n in 0..160 {
        block.extend(header_block(&[(&format!("x-{n}"), &value)]));
    }
    let (first, rest) = block.split_at(16_000);
    let lab = Lab::open(Settings::default()).await;
    let mut client = lab.attacker(&[]).await;
    client.send(&frame(kind::HEADERS, END_STREAM, 1, first)).await;
    client.send(&frame(kind::CONTINUATION, END_HEADERS, 1, rest)).await;
    let refused = client.find(|frame| frame.stream == 1).await.expect("an answer");
    assert!(matches!(refused.kind, kind::HEADERS | kind::RST_STREAM), "{refused:?}");
    is_served(&mut client, 3).await;
    lab.aftermath(client).await;
}

#[tokio::test]
async fn a_header_that_is_repeated_out_of_the_table_is_not_multiplied() {
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    let mut block = grpc_headers(GET);
    // RFC 7541 §6.2.1, with a value of 3,000 bytes; then §6.1, the first entry of the dynamic table, again and again.
    block.extend([0x40, 1, b'x', 0x7f, 0xb9, 0x16]);
    block.extend([b'v'; 3000]);
    block.extend([0xbe; 8000]);
    attacker.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    let (code, why) = attacker.ended().await.expect("a GOAWAY");
    assert_eq!((code, why.as_str()), (ENHANCE_YOUR_CALM, "header_list_way_too_large"));
    lab.expect_abuse("calmed").await;
    assert!(lab.peak() < 2 << 20, "{} bytes for a head of 24 MB", lab.peak());
    lab.aftermath(attacker).await;
}

#[tokio::test]
async fn headers_without_a_name_end_the_connection_before_they_are_kept() {
    let lab = Lab::open(Settings::default()).await;
    let mut attacker = lab.attacker(&[]).await;
    let mut block = grpc_headers(GET);
    block.extend([0; 15_000]);
    attacker.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    let answer =
        attacker.find(|frame| frame.kind == kind::GOAWAY || frame.stream == 1).await.expect("an answer");
    assert!(matches!(answer.kind, kind::GOAWAY | kind::RST_STREAM), "{answer:?}");
    assert!(lab.peak() < 2 << 20, "{} bytes for one head", lab.peak());
    lab.aftermath(attacker).await;
}

#[tokio::test]
async fn bad_pseudo_headers_cost_one_stream() {
    let lab = Lab::open(Settings::default()).await;
    let mut client = lab.attacker(&[]).await;
    let twice =
        header_block(&[(":method", "POST"), (":method", "POST"), (":path", GET), (":scheme", "http")]);
    let late = header_block(&[(":method", "POST"), ("te", "trailers"), (":path", GET), (":scheme", "http")]);
    for (stream, block) in [(1, twice), (3, late)] {
        client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block)).await;
        let reset = client.find(|frame| frame.stream == stream).await.expect("an answer");
        assert_eq!(
            (reset.kind, &reset.payload[..]),
            (kind::RST_STREAM, &[0, 0, 0, 1][..]),
            "PROTOCOL_ERROR on {stream}"
        );
    }
    is_served(&mut client, 5).await;
    // h2 takes one that nobody defined for an offence of the connection, which RFC 9113 §8.1.1 does not ask for.
    let unknown = header_block(&[(":method", "POST"), (":path", GET), (":scheme", "http"), (":what", "x")]);
    client.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 7, &unknown)).await;
    assert_eq!(client.ended().await.expect("a GOAWAY").0, 1, "PROTOCOL_ERROR");
    lab.aftermath(client).await;
}

#[tokio::test]
async fn a_wrong_content_type_is_415_and_never_ok() {
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    for content_type in ["text/html", "application/json", "application/grpc-web-text", ""] {
        let reply = client.call(GET, &[("content-type", content_type)], &[b"<html>"]).await;
        assert_eq!(reply.http, 415, "{content_type}");
        assert!(!reply.headers.contains_key("grpc-status"), "{content_type}");
    }
    assert_eq!(client.unary(GET, b"ping").await.code(), Code::Ok);
    lab.aftermath(client).await;
}
