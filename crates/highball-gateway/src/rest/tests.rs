//! Whole requests over plain HTTP, against a service that is a closure.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use highball_core::{Body, Code, Status};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};

use crate::grpc::{Messages, Next};
use crate::{Gateway, Settings, error, json, testing};

/// What was called, with the request as JSON; and the answer as text.
#[derive(Debug, PartialEq)]
struct Outcome {
    called: Option<(String, String)>,
    http: u16,
    headers: http::HeaderMap,
    body: String,
}

/// Sends `line`, a method and a target, with `body`; the service answers with `answers`, JSON of its response message.
async fn send(
    line: &str,
    headers: &[(&'static str, &str)],
    body: &'static str,
    answers: &[&str],
    status: Status,
) -> Outcome {
    let schema = testing::schema();
    let gateway = Gateway::new(schema.clone(), Settings::default());
    assert_eq!(gateway.problems(), Vec::<String>::new());
    let (method, target) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::new(Bytes::from_static(body.as_bytes())))).unwrap();
    let called = Arc::new(Mutex::new(None));
    let (seen, settings) = (Arc::clone(&called), Settings::default());
    let next = |request: Request<Body>| async move {
        let path = request.uri().path().to_owned();
        let known = Arc::clone(schema.method_at(&path).unwrap());
        let (_, mut messages) = Messages::of(Response::new(request.into_body()), 1 << 20);
        let Next::Message(message) = messages.next().await else {
            return Status::new(Code::Unknown, "no request").into_response();
        };
        let text = json::of_wire(&schema, known.input(), &message, &settings).unwrap();
        *seen.lock().unwrap() = Some((path, String::from_utf8(text).unwrap()));
        let wire = |text: &&str| json::to_wire(&schema, known.output(), text.as_bytes(), &settings).unwrap();
        let wire: Vec<_> = answers.iter().map(wire).collect();
        let wire: Vec<_> = wire.iter().map(Vec::as_slice).collect();
        testing::answer(&wire, &status)
    };
    let response = gateway.call(request, next).await;
    let (parts, body) = response.into_parts();
    #[expect(clippy::disallowed_methods, reason = "the test made it")]
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let called = called.lock().unwrap().take();
    Outcome { called, http: parts.status.as_u16(), headers: parts.headers, body }
}

fn ok() -> Status {
    Status::new(Code::Ok, "")
}

#[tokio::test]
async fn path_query_and_body_become_the_message() {
    for (line, body, method, want) in [
        ("GET /v1/orders/7", "", "Get", r#"{"id":"7"}"#),
        ("GET /v1/orders/a%2Fb%20c", "", "Get", r#"{"id":"a/b c"}"#),
        (
            "GET /v1/users/u/orders/7?filter.tags=x",
            "",
            "Get",
            r#"{"id":"7","user":"u","filter":{"tags":["x"]}}"#,
        ),
        ("POST /v1/orders", r#"{"id":"a"}"#, "Create", r#"{"id":"a"}"#),
        ("POST /v1/orders", "", "Create", "{}"),
        ("PUT /v1/orders/7", r#"{"id":"other","user":"u"}"#, "Put", r#"{"id":"7","user":"u"}"#),
        ("POST /v1/orders/7/lines", r#"[{"sku":"s"}]"#, "AddLines", r#"{"id":"7","lines":[{"sku":"s"}]}"#),
        (
            "PATCH /v1/orders/7",
            r#"{"user":"u","parent":{"id":"p"},"lines":[{"sku":"s"}],"createdAt":null}"#,
            "Update",
            r#"{"order":{"id":"7","user":"u","lines":[{"sku":"s"}],"parent":{"id":"p"}},"updateMask":"createdAt,lines,parent.id,user"}"#,
        ),
        (
            "PATCH /v1/orders/7?update_mask=note",
            r#"{"user":"u"}"#,
            "Update",
            r#"{"order":{"id":"7","user":"u"},"updateMask":"note"}"#,
        ),
    ] {
        let sent = send(line, &[("content-type", "application/json")], body, &[r#"{"id":"r"}"#], ok()).await;
        assert_eq!(
            sent.called,
            Some((format!("/shop.v1.Orders/{method}"), want.to_owned())),
            "{line}: {sent:?}"
        );
        assert_eq!((sent.http, sent.body.as_str()), (200, r#"{"id":"r"}"#), "{line}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_request_is_answered_with_the_reason() {
    for (line, kind, body, http, want) in [
        ("GET /v1/orders/7?nope=1", "", "", 400, "there is no parameter"),
        ("POST /v1/orders?id=1", "", "{}", 400, "everything is in the path or in the body"),
        ("POST /v1/orders", "", "{\"nope\":1}", 400, "line 1, column 7"),
        ("POST /v1/orders/7/lines", "", "[],\"id\":\"x\"", 400, "not JSON"),
        ("POST /v1/orders/7/lines", "", "{}", 400, "field lines takes an array"),
        ("POST /v1/orders", "text/plain", "{}", 415, "application/json"),
        ("DELETE /v1/orders", "", "", 405, "GET, POST, HEAD is"),
        ("GET /v1/order", "", "", 404, "closest: GET /v1/orders/{id}"),
        ("GET /nowhere", "", "", 404, "nothing is at GET"),
        ("POST /v1/orders:import", "", "", 501, "takes a stream of messages"),
        ("PUT /shop.v1.Orders/Get", "", "", 405, "POST is"),
        ("GET /v1/orders/%ff", "", "", 400, "the path is not UTF-8"),
    ] {
        let headers = if kind.is_empty() { vec![] } else { vec![("content-type", kind)] };
        let sent = send(line, &headers, body, &["{}"], ok()).await;
        assert_eq!(sent.http, http, "{line}: {sent:?}");
        assert!(sent.body.contains(want), "{line}: {}", sent.body);
        assert_eq!(sent.headers["content-type"], "application/json");
        assert_eq!(sent.headers.contains_key("allow"), http == 405);
        assert_eq!(sent.called, None, "{line}");
    }
}

#[tokio::test]
async fn a_stream_is_written_as_the_caller_accepts() {
    let messages = [r#"{"id":"a"}"#, r#"{"id":"b"}"#];
    let gone = || Status::new(Code::Unavailable, "gone");
    let error = r#"{"code":14,"details":[],"message":"gone"}"#;
    for (accept, status, kind, want) in [
        ("*/*", ok(), "application/x-ndjson", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n".to_owned()),
        ("application/json", ok(), "application/json", "[{\"id\":\"a\"},\n{\"id\":\"b\"}]".to_owned()),
        (
            "text/event-stream",
            ok(),
            "text/event-stream",
            "data: {\"id\":\"a\"}\n\ndata: {\"id\":\"b\"}\n\nevent: end\ndata: {}\n\n".to_owned(),
        ),
        (
            "application/x-ndjson",
            gone(),
            "application/x-ndjson",
            format!("{{\"id\":\"a\"}}\n{{\"id\":\"b\"}}\n{{\"error\":{error}}}\n"),
        ),
        (
            "application/json;q=1",
            gone(),
            "application/json",
            format!("[{{\"id\":\"a\"}},\n{{\"id\":\"b\"}},\n{{\"error\":{error}}}]"),
        ),
        (
            "text/event-stream",
            gone(),
            "text/event-stream",
            format!("data: {{\"id\":\"a\"}}\n\ndata: {{\"id\":\"b\"}}\n\nevent: error\ndata: {error}\n\n"),
        ),
    ] {
        let sent = send("GET /v1/orders/7:watch", &[("accept", accept)], "", &messages, status).await;
        assert_eq!((sent.http, sent.body), (200, want), "{accept}");
        assert_eq!(sent.headers["content-type"], kind);
    }
    let empty = send("GET /v1/orders", &[("accept", "application/json")], "", &[], ok()).await;
    assert_eq!(empty.body, "[]");
}

#[tokio::test]
async fn an_error_before_the_first_message_has_its_http_status() {
    for line in ["GET /v1/orders/7", "GET /v1/orders/7:watch"] {
        let sent = send(line, &[], "", &[], error::invalid("id", "no such id")).await;
        assert_eq!(sent.http, 400, "{line}");
        assert!(sent.body.contains("google.rpc.BadRequest"), "{}", sent.body);
    }
}

#[tokio::test]
async fn raw_bodies_and_single_fields_are_written_as_they_are() {
    let answer = [r#"{"contentType":"text/html","data":"aGk="}"#];
    let headers = [("content-type", "image/png")];
    let sent = send("POST /v1/files/a/b%2Fc", &headers, "png", &answer, ok()).await;
    let want = r#"{"name":"files/a/b%2Fc","file":{"contentType":"image/png","data":"cG5n"}}"#;
    assert_eq!(sent.called.unwrap().1, want);
    assert_eq!((sent.body.as_str(), &sent.headers["content-type"]), ("hi", &"text/html".parse().unwrap()));
    for (answer, want) in [(r#"{"lines":[{"sku":"s"}]}"#, r#"[{"sku":"s"}]"#), ("{}", "[]")] {
        let sent = send("GET /v1/orders/7/lines", &[], "", &[answer], ok()).await;
        assert_eq!(sent.body, want);
    }
}

#[tokio::test]
async fn head_is_get_without_a_body_and_a_bad_timeout_is_refused() {
    let sent = send("HEAD /v1/orders/7", &[], "", &["{}"], ok()).await;
    assert_eq!((sent.http, sent.body.as_str()), (200, ""));
    let sent = send("GET /v1/orders/7", &[("grpc-timeout", "soon")], "", &["{}"], ok()).await;
    assert_eq!((sent.http, sent.called), (400, None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_news_gets_its_head_after_a_while() {
    let gateway = Gateway::new(testing::schema(), Settings::default());
    let request = Request::get("/v1/orders/7:watch").body(Body::empty()).unwrap();
    type Never = std::convert::Infallible;
    let silence = futures_util::stream::pending::<Result<http_body::Frame<Bytes>, Never>>();
    let silence = Body::new(http_body_util::StreamBody::new(silence));
    let response = gateway.call(request, |_| async { Response::new(silence) }).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
}
