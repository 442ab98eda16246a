//! `grpc.health.v1.Health/Check` (grpc `doc/health-checking.md`), as a caller.

use std::time::Duration;

use highball::channel::health_check;
use highball::core::deadline::{TIMEOUT_HEADER, encode_timeout};
use highball::core::envelope::PREFIX_SIZE_BYTES;
use highball::{Channel, Code, Status};
use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, Limited};

/// `package.Service/Method`.
pub(crate) const METHOD: &str = "grpc.health.v1.Health/Check";

/// Longest answer that is a health status, with room for fields of later versions.
const ANSWER_SIZE_BYTES_MAX: usize = 4096;

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
}

impl Health {
    /// As the `.proto` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// Asks once for the health of `service`; empty for the server as a whole.
///
/// # Errors
/// The status of the call.
pub(crate) async fn check(
    channel: &Channel,
    service: &str,
    timeout: Duration,
    user_agent: &HeaderValue,
) -> Result<Health, Status> {
    let mut request = Request::new(Full::new(health_check::request(service)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/grpc.health.v1.Health/Check");
    request.headers_mut().insert(TIMEOUT_HEADER, encode_timeout(timeout));
    request.headers_mut().insert(USER_AGENT, user_agent.clone());
    let response = channel.call(request).await;
    if let Some(status) = Status::from_headers(response.headers()) {
        return Err(if status.code() == Code::Ok { malformed() } else { status });
    }
    let body = Limited::new(response.into_body(), ANSWER_SIZE_BYTES_MAX);
    #[expect(clippy::disallowed_methods, reason = "limited in the line above")]
    let collected = body.collect().await.map_err(|_| malformed())?;
    let status = collected.trailers().and_then(Status::from_headers).ok_or_else(malformed)?;
    if status.code() != Code::Ok {
        return Err(status);
    }
    serving(&collected.to_bytes()).ok_or_else(malformed)
}

/// `HealthCheckResponse { ServingStatus status = 1; }`, sealed and not compressed.
fn serving(sealed: &[u8]) -> Option<Health> {
    let (prefix, message) = sealed.split_at_checked(PREFIX_SIZE_BYTES)?;
    if prefix.first() != Some(&0) {
        return None;
    }
    Some(match health_check::status(message)? {
        1 => Health::Serving,
        2 => Health::NotServing,
        3 => Health::ServiceUnknown,
        _ => Health::Unknown,
    })
}

fn malformed() -> Status {
    Status::new(Code::Internal, "the server sent something else than a health status")
}

#[cfg(test)]
mod tests {
    use super::*;
    use highball::core::envelope::seal;

    #[test]
    fn a_health_status_is_read_and_later_fields_are_skipped() {
        assert_eq!(serving(&seal(b"")), Some(Health::Unknown));
        assert_eq!(serving(&seal(b"\x08\x01")), Some(Health::Serving));
        assert_eq!(serving(&seal(b"\x12\x01x\x08\x02")), Some(Health::NotServing));
        assert_eq!(serving(&seal(b"\x08\x03")), Some(Health::ServiceUnknown));
        for broken in [&b""[..], b"\0\0", b"\x01\0\0\0\0", &seal(b"\x08")[..]] {
            assert_eq!(serving(broken), None, "{broken:?}");
        }
    }
}
