//! Reflection: off by default, and whole when on.

use std::time::Duration;

use highball::{Code, Settings};
use highball_testkit::TestServer;

use crate::{host, pong};

const INFO: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

#[tokio::test]
async fn reflection_is_off_by_default() {
    // The hosted service answers for methods nobody serves; a real one says UNIMPLEMENTED.
    let refuse = |_| async { highball::Status::new(Code::Unimplemented, "no such method").into_response() };
    let server = TestServer::start(host(refuse)).await;
    let client = server.client().await;
    for path in INFO {
        assert_eq!(client.unary(path, &[58, 0]).await.code(), Code::Unimplemented);
    }
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn both_versions_list_services_and_give_files_once_per_stream() {
    let settings = Settings { reflection: true, ..Settings::default() };
    let server = TestServer::start(host(pong).with_settings(settings)).await;
    let client = server.client().await;
    let symbol = b"\x22\x0cshop.v1.Shop";
    let unknown = b"\x22\x04nope";
    for path in INFO {
        let reply = client.call(path, &[], &[&[58, 0], symbol, unknown]).await;
        assert_eq!((reply.code(), reply.messages.len()), (Code::Ok, 3));
        let text: Vec<_> = reply.messages.iter().map(|m| String::from_utf8_lossy(m).into_owned()).collect();
        assert!(text[0].contains("shop.v1.Shop") && text[0].contains("grpc.health.v1.Health"), "{}", text[0]);
        assert!(text[1].contains("shop.proto") && text[1].contains("GetRequest"), "{}", text[1]);
        assert!(text[2].contains("not found"), "{}", text[2]);
    }
    drop(client);
    server.drained().await;
}

#[tokio::test]
async fn an_open_reflection_stream_ends_with_the_drain_and_does_not_hold_it() {
    let settings = Settings {
        reflection: true,
        lame_duck: Duration::ZERO,
        drain_timeout: Duration::from_secs(600),
        ..Settings::default()
    };
    for path in INFO {
        let mut server = TestServer::start(host(pong).with_settings(settings.clone())).await;
        let client = server.client().await;
        let mut call = client.open(path, &[]).await;
        call.send(&[58, 0]).await;
        let (outbound, mut answer) = call.head().await;
        assert!(answer.message().await.unwrap().is_some());
        server.stop();
        let last = tokio::time::timeout(Duration::from_secs(20), answer.message()).await;
        assert_eq!(last.expect("the stream ends").unwrap(), None, "trailers, not a reset");
        assert_eq!(answer.status().unwrap().code(), Code::Unavailable);
        let report = tokio::time::timeout(Duration::from_secs(20), server.drained())
            .await
            .expect("the drain does not wait for a tool");
        assert_eq!((report.finished, report.cut, report.exit_code()), (0, 0, 0), "{report}");
        drop((outbound, client));
    }
}
