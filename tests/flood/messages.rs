//! Requests whose messages are not what they claim, and requests for what is not there.

use std::io::Write as _;

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};
use highball::Code;
use highball::core::envelope::seal;
use highball_testkit::Reply;
use highball_testkit::client::{Client, grpc_request};
use highball_testkit::raw::{END_HEADERS, frame, grpc_headers, kind};

use crate::lab::Lab;
use crate::{GET, Settings};

const GZIP: &[(&str, &str)] = &[("grpc-encoding", "gzip")];

/// A message in an envelope that says it is compressed.
fn compressed(message: &[u8]) -> Bytes {
    let mut sealed = seal(message).to_vec();
    sealed[0] = 1;
    sealed.into()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

/// The gzip of 1 GiB of zeros, about 1 MiB, made of one block 1,024 times.
fn bomb() -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(64 << 10);
    compress.compress_vec(&vec![0; 1 << 20], &mut block, FlushCompress::Full).expect("there is room");
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bomb.extend(block.repeat(1024));
    bomb
}

async fn refused(client: &Client, headers: &[(&str, &str)], body: Bytes, code: Code, part: &str) -> Reply {
    let reply = client.raw(grpc_request(GET, headers), body).await;
    assert!(reply.broken.is_none(), "{reply:?}");
    assert_eq!(reply.code(), code, "{}", reply.status());
    assert!(reply.status().message().contains(part), "{}", reply.status());
    reply
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_by_size_and_takes_no_more_memory_than_a_message() {
    let bomb = compressed(&bomb());
    assert!(bomb.len() < 2 << 20, "{}", bomb.len());
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    for _ in 0..3 {
        refused(&client, GZIP, bomb.clone(), Code::ResourceExhausted, "(message_size_bytes_max)").await;
    }
    lab.expect_line("limit_hits_total{limit=\"decompressed_message_size\"} 3").await;
    // The compressed message in the buffers of both ends, and what became of it until the limit of 4 MiB.
    assert!(lab.peak() < 10 << 20, "{} bytes", lab.peak());
    lab.aftermath(client).await;
}

#[tokio::test]
async fn a_small_bomb_is_refused_by_its_ratio() {
    let dense = compressed(&gzip(&vec![0; 3 << 20]));
    assert!(dense.len() < 4 << 10, "{}", dense.len());
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    for _ in 0..100 {
        refused(&client, GZIP, dense.clone(), Code::ResourceExhausted, "(decompression_ratio_max)").await;
    }
    lab.expect_line("limit_hits_total{limit=\"decompression_ratio\"} 100").await;
    assert!(lab.peak() < 2 << 20, "{} bytes", lab.peak());
    lab.aftermath(client).await;
}

#[tokio::test]
async fn compression_that_is_not_what_it_claims_is_told_apart() {
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    let packed = compressed(&gzip(&vec![7; 200 << 10]));
    let ok = client.raw(grpc_request(GET, GZIP), packed.clone()).await;
    assert_eq!(ok.code(), Code::Ok, "the service needs to know nothing of gzip");
    for headers in [&[][..], &[("grpc-encoding", "identity")]] {
        refused(&client, headers, packed.clone(), Code::Internal, "grpc-encoding does not say how").await;
    }
    let garbage = compressed(&[7; 200 << 10]);
    refused(&client, GZIP, garbage, Code::Internal, "not in the encoding it claims").await;
    let zstd = refused(&client, &[("grpc-encoding", "zstd")], packed, Code::Unimplemented, "gzip").await;
    assert_eq!(zstd.headers["grpc-accept-encoding"], "identity,deflate,gzip");
    lab.aftermath(client).await;
}

#[tokio::test]
async fn oversized_and_truncated_messages_are_answered_at_once() {
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    let announced = |bytes: &'static [u8]| Bytes::from_static(bytes);
    for (body, code, part) in [
        (announced(&[0, 0xff, 0xff, 0xff, 0xff]), Code::ResourceExhausted, "4294967295 bytes"),
        (announced(&[0, 0, 0x40, 0, 1]), Code::ResourceExhausted, "(message_size_bytes_max)"),
        (announced(&[0, 0, 0, 0, 9, 1, 2]), Code::Internal, "inside a message"),
        (announced(&[0, 0, 0x40, 0, 0]), Code::Internal, "inside a message"),
        (announced(&[0, 0, 0]), Code::Internal, "inside a message"),
        (announced(&[2, 0, 0, 0, 1, 1]), Code::Internal, "neither 0 nor 1"),
    ] {
        refused(&client, &[], body, code, part).await;
    }
    // Nobody waits for a message that is too large: the prefix is enough, and the request stays open.
    let mut slow = lab.attacker(&[]).await;
    slow.send(&frame(kind::HEADERS, END_HEADERS, 1, &grpc_headers(GET))).await;
    slow.send(&frame(kind::DATA, 0, 1, &[0, 0x7f, 0, 0, 0])).await;
    slow.find(|frame| frame.stream == 1 && frame.kind == kind::HEADERS).await.expect("an answer");
    // Announced is not allocated.
    assert!(lab.peak() < 2 << 20, "{} bytes", lab.peak());
    lab.aftermath((client, slow)).await;
}

#[tokio::test]
async fn a_bad_timeout_is_told_and_nothing_runs() {
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    for timeout in ["", "1", "S", "1x", "-1S", "+1S", "1.5S", "123456789S", "1 S", "99999999999999999999H"] {
        let headers = [("grpc-timeout", timeout)];
        refused(&client, &headers, seal(b"ping"), Code::Internal, "grpc-timeout").await;
    }
    lab.aftermath(client).await;
}

#[tokio::test]
async fn a_scan_for_methods_and_descriptors_learns_nothing_and_costs_nothing() {
    let lab = Lab::open(Settings::default()).await;
    let client = lab.server.client().await;
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let scanned = client.unary(reflection, b"").await;
    assert_eq!(scanned.code(), Code::Unimplemented);
    assert_eq!(scanned.status().message(), client.unary("/scan.S/M", b"").await.status().message());
    for n in 0..500 {
        let reply = client.unary(&format!("/scan.S{n}/{}", "M".repeat(500)), b"").await;
        assert_eq!(reply.code(), Code::Unimplemented);
    }
    assert!(!lab.server.telemetry.render().contains("scan.S"), "a label from the wire");
    lab.aftermath(client).await;
}
