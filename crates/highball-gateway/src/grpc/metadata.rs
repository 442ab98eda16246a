//! Which headers are metadata.

use highball_core::{Code, Status, status};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers of one connection or of one body, never of an RPC (RFC 9110 section 7.6.1, and what describes the body).
const FRAMING: [&str; 12] = [
    "connection",
    "date",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The metadata of a request: every header under its own name but those of the connection, of the body, of content
/// negotiation, of gRPC itself (`grpc-*`) and of the dialect (`is_own`). `-bin` values are base64 on both sides, so they pass
/// as they are.
///
/// # Errors
/// INVALID_ARGUMENT for a `-bin` value that is not base64.
pub(crate) fn inward(headers: &HeaderMap, is_own: impl Fn(&str) -> bool) -> Result<HeaderMap, Status> {
    let mut metadata = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        let text = name.as_str();
        if is_framing(headers, name)
            || text.starts_with("accept")
            || text.starts_with("grpc-")
            || is_own(text)
        {
            continue;
        }
        if text.ends_with("-bin") && !is_binary(value) {
            let message = format!("the header {text:?} is not base64, as its ending -bin says");
            return Err(Status::new(Code::InvalidArgument, message));
        }
        metadata.append(name, value.clone());
    }
    Ok(metadata)
}

/// The metadata of a response or of its trailers: what a caller that speaks no gRPC may see. Nothing of the connection, of the
/// body, or of gRPC itself.
pub(crate) fn outward(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !is_framing(headers, name) && !name.as_str().starts_with("grpc-") {
            metadata.append(name, value.clone());
        }
    }
    metadata
}

fn is_framing(headers: &HeaderMap, name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("content-") || FRAMING.contains(&text) || is_named_by_connection(headers, text)
}

/// `connection: x` makes `x` a header of this hop.
fn is_named_by_connection(headers: &HeaderMap, name: &str) -> bool {
    let names = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    names.flat_map(|names| names.split(',')).any(|named| named.trim().eq_ignore_ascii_case(name))
}

/// Several values may stand in one header, separated by commas (gRPC over HTTP/2, "Custom-Metadata").
fn is_binary(value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| *byte == b',').all(|one| status::decode_binary(one.trim_ascii()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_metadata_is_base64_or_refused() {
        for (value, good) in [("AQ", true), ("AQ==", true), ("AQ, Ag", true), ("", true), ("no!", false)] {
            let mut headers = HeaderMap::new();
            headers.insert("x-bin", HeaderValue::from_static(value));
            assert_eq!(inward(&headers, |_| false).is_ok(), good, "{value:?}");
        }
    }

    #[test]
    fn a_caller_without_grpc_sees_metadata_only() {
        let mut headers = HeaderMap::new();
        for name in ["grpc-status", "grpc-encoding", "content-type", "transfer-encoding", "x-a", "x-b-bin"] {
            headers.insert(name, HeaderValue::from_static("1"));
        }
        let metadata = outward(&headers);
        let names: Vec<_> = metadata.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-a", "x-b-bin"]);
    }
}
