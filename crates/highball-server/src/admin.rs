//! The admin port: `/livez`, `/readyz`, `/metrics`, over HTTP/1.1 or HTTP/2.

use std::sync::Arc;

use highball_core::Body;
use highball_telemetry::Telemetry;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::health::Health;

const INDEX: &str = "/livez    200 while the process works\n\
                     /readyz   200 while it wants traffic, 503 and the reasons otherwise\n\
                     /metrics  Prometheus (OpenMetrics) text\n";

/// Pages of whoever embeds the server: asked for paths that the admin port does not know; `None` for none of theirs. Must not
/// block.
pub type AdminPages = Arc<dyn Fn(&Request<Body>) -> Option<Response<Body>> + Send + Sync>;

/// Answers one admin request. Bodies are ignored; everything here is read-only.
pub(crate) fn answer(
    health: &Health,
    telemetry: &Telemetry,
    pages: Option<&AdminPages>,
    request: &Request<Body>,
) -> Response<Body> {
    let method = request.method();
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response =
            text(method, StatusCode::METHOD_NOT_ALLOWED, "the admin port only answers GET\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => text(method, StatusCode::OK, INDEX.to_owned()),
        "/livez" => text(method, StatusCode::OK, "alive\n".to_owned()),
        "/readyz" => match health.readiness() {
            Ok(()) => text(method, StatusCode::OK, "ready\n".to_owned()),
            Err(reasons) => {
                text(method, StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", reasons.join("\n")))
            }
        },
        "/metrics" => {
            let mut response = text(method, StatusCode::OK, telemetry.render());
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        _ => pages.and_then(|pages| pages(request)).unwrap_or_else(|| {
            text(method, StatusCode::NOT_FOUND, format!("no such page; there are\n{INDEX}"))
        }),
    }
}

/// Text for a person. A HEAD request gets the same head without the body, which HTTP/2 does not leave out by itself.
pub(crate) fn text(method: &Method, status: StatusCode, text: String) -> Response<Body> {
    let size = HeaderValue::from(text.len());
    let body = if *method == Method::HEAD { Body::empty() } else { Body::new(Full::from(text)) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, size);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
