//! What is answered to requests that no method gets, with what would have been.

use std::collections::BTreeSet;

use highball_core::{Body, Code, Status};
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::query::shorten;
use crate::gateway::State;
use crate::{MethodInfo, Settings, error};

/// Templates that are named at most.
const SUGGESTIONS_MAX: usize = 5;

/// HTTP 405: the path is right.
pub(super) fn other_methods(
    state: &State,
    request: &Request<Body>,
    methods: &BTreeSet<&str>,
) -> Response<Body> {
    let mut allow: Vec<&str> = methods.iter().copied().collect();
    if methods.contains("GET") {
        allow.push("HEAD");
    }
    let allow = allow.join(", ");
    let message = format!("{} is not for this path; {allow} is", shorten(request.method().as_str()));
    let mut response = respond(state, StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, message);
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// HTTP 404; or 405 and 415 where the path is a method's own, and only its dialect is missing.
pub(super) fn nothing(
    state: &State,
    settings: &Settings,
    request: &Request<Body>,
    names: &[String],
) -> Response<Body> {
    let path = request.uri().path();
    if state.schema.method_at(path).is_some() {
        if request.method() == http::Method::POST {
            return content_type(state);
        }
        return other_methods(state, request, &BTreeSet::from(["POST"]));
    }
    let mut message = format!("nothing is at {} {:?}", shorten(request.method().as_str()), shorten(path));
    let close = if settings.suggest_templates { closest(path, names) } else { Vec::new() };
    if !close.is_empty() {
        message = format!("{message}; closest: {}", close.join(", "));
    }
    respond(state, StatusCode::NOT_FOUND, Code::NotFound, message)
}

/// The templates that share the most of their first segments with `path`, and at least one.
fn closest<'n>(path: &str, names: &'n [String]) -> Vec<&'n str> {
    let shared = |name: &str| {
        let template = name.split(' ').nth(1).unwrap_or_default();
        let pairs = template.split('/').zip(path.split('/')).skip(1);
        pairs.take_while(|(wanted, found)| wanted.split(':').next() == found.split(':').next()).count()
    };
    let most = names.iter().map(|name| shared(name)).max().unwrap_or(0);
    let close = names.iter().filter(|name| most > 0 && shared(name) == most);
    close.map(String::as_str).take(SUGGESTIONS_MAX).collect()
}

/// HTTP 415.
pub(super) fn content_type(state: &State) -> Response<Body> {
    let message = "the content type of the request is none that this path takes; application/json is one";
    respond(state, StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, message.to_owned())
}

/// A method that takes a stream: HTTP answers one request with one response.
pub(super) fn client_streaming(state: &State, method: &MethodInfo) -> Response<Body> {
    let message = format!(
        "{} takes a stream of messages, which plain HTTP does not carry; call it as gRPC or Connect",
        method.full_name()
    );
    respond(state, StatusCode::NOT_IMPLEMENTED, Code::Unimplemented, message)
}

fn respond(state: &State, http: StatusCode, code: Code, message: String) -> Response<Body> {
    let mut response = error::response(&state.schema, &Status::new(code, message), HeaderMap::new());
    *response.status_mut() = http;
    response
}
