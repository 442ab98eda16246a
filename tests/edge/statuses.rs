//! How calls end: the status of the backend reaches the caller whole, and what is none becomes one.

use bytes::Bytes;
use highball::Code;
use highball::core::envelope::seal;
use highball_testkit::Reply;
use http::{HeaderMap, HeaderValue, Response};

use super::peer::{Peer, Rpc};
use super::scripted::{head, status};
use super::world::File;
use super::{GET, WATCH};

/// A status with everything that one can have.
fn rich(code: Code) -> HeaderMap {
    let mut headers = status(code);
    headers.insert("grpc-message", HeaderValue::from_static("not today: 100%25 sold %C3%BC"));
    headers.insert("grpc-status-details-bin", HeaderValue::from_static("CAUSA2lubw"));
    headers.insert("x-stock", HeaderValue::from_static("none"));
    headers.insert("x-blob-bin", HeaderValue::from_static("AAEC/w"));
    headers
}

fn assert_rich(what: &str, reply: &Reply, code: Code) {
    let status = reply.status();
    assert_eq!((status.code(), status.message()), (code, "not today: 100% sold ü"), "{what}");
    let headers = if reply.trailers_only { &reply.headers } else { &reply.trailers };
    assert_eq!(headers["grpc-status-details-bin"], "CAUSA2lubw", "{what}");
    assert_eq!(
        (&headers["x-stock"], &headers["x-blob-bin"]),
        (&HeaderValue::from_static("none"), &HeaderValue::from_static("AAEC/w")),
        "{what}"
    );
}

/// How a backend ends a call.
#[derive(Clone, Copy)]
enum End {
    /// The status in the head.
    TrailersOnly,
    /// So many messages, then the status.
    After(usize),
    /// A head and nothing more.
    Head,
    /// A message that ends the stream.
    Message,
    /// A reset instead of a head.
    Reset(h2::Reason),
    /// A reset after a message.
    Cut(h2::Reason),
    /// A web page.
    Page(u16, &'static str),
}

async fn end(mut rpc: Rpc, end: End) {
    rpc.read().await;
    let mut respond = rpc.respond;
    let mut begin = || respond.send_response(head(), false).unwrap();
    match end {
        End::TrailersOnly => {
            let mut response = head();
            response.headers_mut().extend(rich(Code::FailedPrecondition));
            respond.send_response(response, true).unwrap();
        }
        End::After(messages) => {
            let mut stream = begin();
            for _ in 0..messages {
                stream.send_data(seal(b"one"), false).unwrap();
            }
            stream.send_trailers(rich(Code::Aborted)).unwrap();
        }
        End::Head => drop(respond.send_response(head(), true).unwrap()),
        End::Message => begin().send_data(seal(b"one"), true).unwrap(),
        End::Reset(reason) => respond.send_reset(reason),
        End::Cut(reason) => {
            let mut stream = begin();
            stream.send_data(seal(b"one"), false).unwrap();
            // What is reset at once takes along what waits.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            stream.send_reset(reason);
        }
        End::Page(code, kind) => {
            let response = Response::builder().status(code).header("content-type", kind).body(()).unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data(Bytes::from_static(b"<h1>Gateway</h1>"), true).unwrap();
        }
    }
}

/// What a caller of `path` sees when the backend ends its call so.
async fn ended(path: &str, how: End) -> Reply {
    let backend = Peer::rpcs(move |rpc| end(rpc, how)).await;
    let edge = File::to(&[backend.addr]).ready().await;
    let client = edge.client().await;
    let reply = client.unary(path, b"ping").await;
    assert_eq!(reply.http, 200);
    assert!(reply.broken.is_none(), "{reply:?}");
    drop(client);
    edge.drained().await;
    reply
}

#[tokio::test]
async fn an_error_without_messages_keeps_all_it_says() {
    for path in [GET, WATCH] {
        let reply = ended(path, End::TrailersOnly).await;
        assert!(reply.trailers_only, "{reply:?}");
        assert_rich(path, &reply, Code::FailedPrecondition);
        let reply = ended(path, End::After(0)).await;
        assert_rich(path, &reply, Code::Aborted);
    }
}

#[tokio::test]
async fn an_error_after_messages_keeps_both() {
    for (path, messages) in [(GET, 1), (WATCH, 3)] {
        let reply = ended(path, End::After(messages)).await;
        assert_eq!(reply.messages, vec!["one"; messages]);
        assert_rich(path, &reply, Code::Aborted);
    }
}

#[tokio::test]
async fn an_end_without_a_status_is_unknown_and_never_ok() {
    for path in [GET, WATCH] {
        for how in [End::Head, End::Message] {
            let reply = ended(path, how).await;
            assert_eq!(reply.code(), Code::Unknown, "{path}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_reset_by_the_backend_becomes_the_code_of_the_specification() {
    for (reason, code) in [
        (h2::Reason::CANCEL, Code::Cancelled),
        (h2::Reason::REFUSED_STREAM, Code::Unavailable),
        (h2::Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (h2::Reason::INTERNAL_ERROR, Code::Internal),
        (h2::Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    ] {
        for path in [GET, WATCH] {
            let reply = ended(path, End::Reset(reason)).await;
            assert_eq!(reply.code(), code, "{path} {reason}: {reply:?}");
            let reply = ended(path, End::Cut(reason)).await;
            assert_eq!((reply.code(), reply.messages.len()), (code, 1), "{path} {reason}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_web_page_instead_of_grpc_is_an_error_that_says_so() {
    for (http, code) in [
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (404, Code::Unimplemented),
        (403, Code::PermissionDenied),
        (200, Code::Unknown),
        (500, Code::Unknown),
    ] {
        for kind in ["text/html", "application/grpc"] {
            let reply = ended(GET, End::Page(http, kind)).await;
            if http == 200 && kind != "text/html" {
                // Five bytes of HTML pass for a prefix.
                assert_ne!(reply.code(), Code::Ok, "{reply:?}");
                continue;
            }
            assert_eq!(reply.code(), code, "{http} {kind}: {reply:?}");
            assert!(reply.messages.is_empty(), "{http} {kind}: {reply:?}");
            assert_eq!(reply.headers["content-type"], "application/grpc", "{http} {kind}");
        }
    }
}
