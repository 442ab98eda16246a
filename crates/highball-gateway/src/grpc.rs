//! The gRPC side: requests made of what a dialect read, responses taken apart.

mod body;
mod frames;
mod messages;
mod metadata;

use highball_core::{Body, Code, Status, deadline};
use http::header::{CONTENT_TYPE, HOST, TE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Uri, Version};

#[allow(unused_imports, reason = "for the dialects that carry bare messages and streams")]
pub(crate) use body::{Fault, Inward, collect, later, one};
pub(crate) use frames::Frames;
pub(crate) use messages::{Ending, Messages, Next};
pub(crate) use metadata::{inward, outward};

/// The gRPC request for `path`, `/package.Service/Method`, with what `head` knows: metadata, extensions, the authority.
///
/// `is_own` names the headers of the dialect itself, which the service does not see. `timeout` is `grpc-timeout` as the
/// dialect's own header asked for it; whatever `grpc-` header the caller sent is gone.
///
/// # Errors
/// INVALID_ARGUMENT for metadata that gRPC cannot carry.
pub(crate) fn request(
    head: Parts,
    path: &str,
    timeout: Option<HeaderValue>,
    is_own: impl Fn(&str) -> bool,
    body: Body,
) -> Result<Request<Body>, Status> {
    let mut headers = inward(&head.headers, is_own)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    if let Some(timeout) = timeout {
        headers.insert(deadline::TIMEOUT_HEADER, timeout);
    }
    let uri = uri(&head, path).ok_or_else(|| Status::new(Code::Internal, "the method has no path"))?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    *request.extensions_mut() = head.extensions;
    Ok(request)
}

/// The path, at the authority that the request was sent to: HTTP/2 carries it in the target, HTTP/1.1 in `host`.
fn uri(head: &Parts, path: &str) -> Option<Uri> {
    let path = PathAndQuery::try_from(path).ok()?;
    let host = || Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok();
    let mut parts = http::uri::Parts::default();
    parts.authority = head.uri.authority().cloned().or_else(host);
    // A target with an authority needs a scheme; nobody behind reads it.
    parts.scheme = parts.authority.is_some().then_some(http::uri::Scheme::HTTP);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_a_grpc_client_would_send() {
        let (mut head, ()) = Request::post("/v1/orders?a=b").body(()).unwrap().into_parts();
        head.extensions.insert(7_u8);
        for (name, value) in [
            ("host", "shop.example:80"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("accept-encoding", "gzip"),
            ("grpc-timeout", "1H"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("authorization", "Bearer t"),
            ("x-own", "1"),
            ("x-key-bin", "AQ"),
        ] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        let timeout = Some(HeaderValue::from_static("5S"));
        let request = request(head, "/a.B/C", timeout, |name| name == "x-own", Body::empty()).unwrap();
        assert_eq!(request.uri(), "http://shop.example:80/a.B/C");
        assert_eq!((request.method(), request.version()), (&Method::POST, Version::HTTP_2));
        assert_eq!(request.extensions().get(), Some(&7_u8));
        let mut headers: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("authorization", "Bearer t"),
                ("content-type", "application/grpc+proto"),
                ("grpc-timeout", "5S"),
                ("te", "trailers"),
                ("x-key-bin", "AQ"),
            ]
        );
    }
}
