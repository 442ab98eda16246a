//! How an RPC failed, for those who speak no gRPC: the HTTP status, and the details as JSON.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use buffa::encoding::encode_varint;
use buffa::{UnknownFieldData, UnknownFields};
use bytes::Bytes;
use highball_core::{Body, Code, Status};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::Schema;
use crate::schema::texts;

/// Details of one status that are translated; more are left out.
const DETAILS_MAX: usize = 64;

/// One detail of a status.
#[derive(Debug, Clone)]
pub(crate) struct Detail {
    /// As it stands in the `google.protobuf.Any`: `type.googleapis.com/google.rpc.RetryInfo`.
    pub(crate) type_url: String,
    /// The encoded message.
    pub(crate) value: Bytes,
    /// The JSON of the message, without `@type`; `None` when its type is not known.
    pub(crate) json: Option<Value>,
}

impl Detail {
    /// `google.rpc.RetryInfo`.
    pub(crate) fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }

    /// As JSON of a `google.protobuf.Any`; of an unknown type, with the bytes in base64 as `value`.
    pub(crate) fn to_any(&self) -> Value {
        let mut any = serde_json::Map::new();
        any.insert("@type".to_owned(), Value::from(self.type_url.as_str()));
        match &self.json {
            Some(Value::Object(fields)) => any.extend(fields.clone()),
            Some(value) => _ = any.insert("value".to_owned(), value.clone()),
            None => _ = any.insert("value".to_owned(), Value::from(STANDARD.encode(&self.value))),
        }
        Value::Object(any)
    }
}

/// The details of `status`, decoded by the schema or by the standard types of `google.rpc`. Details that are no
/// `google.rpc.Status` are left out.
pub(crate) fn details(schema: &Schema, status: &Status) -> Vec<Detail> {
    let fields = UnknownFields::decode_from_slice(status.details()).unwrap_or_default();
    texts(&fields, 3).take(DETAILS_MAX).filter_map(|any| detail(schema, any)).collect()
}

fn detail(schema: &Schema, any: &[u8]) -> Option<Detail> {
    let any = UnknownFields::decode_from_slice(any).ok()?;
    let type_url = String::from_utf8(texts(&any, 1).last()?.to_vec()).ok()?;
    let value = Bytes::copy_from_slice(texts(&any, 2).last().unwrap_or_default());
    let mut detail = Detail { type_url, value, json: None };
    let message = schema.decode_named(detail.type_name(), &detail.value);
    detail.json = message.and_then(|message| serde_json::to_value(message).ok());
    Some(detail)
}

/// The HTTP status of a code, as google.rpc maps them (google/rpc/code.proto).
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // 499, "client closed request", which no registry lists.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status as JSON of a `google.rpc.Status`: `{"code":5,"message":"...","details":[...]}`.
pub(crate) fn to_json(schema: &Schema, status: &Status) -> Value {
    let details: Vec<_> = details(schema, status).iter().map(Detail::to_any).collect();
    json!({ "code": status.code() as i32, "message": status.message(), "details": details })
}

/// The headers that tell HTTP clients what a status asks of them: `retry-after` in whole seconds, and `www-authenticate`, which
/// RFC 9110 section 15.5.2 demands of a 401.
pub(crate) fn advise(status: &Status, headers: &mut HeaderMap) {
    if let Some(delay) = retry_after(status) {
        // Rounded up: too early is a retry for nothing.
        headers.insert(RETRY_AFTER, HeaderValue::from(delay.as_nanos().div_ceil(1_000_000_000) as u64));
    }
    if status.code() == Code::Unauthenticated && !headers.contains_key(WWW_AUTHENTICATE) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

/// The error as an HTTP response with a JSON body, and the metadata that goes with it.
pub(crate) fn response(schema: &Schema, status: &Status, metadata: HeaderMap) -> Response<Body> {
    let body = to_json(schema, status).to_string();
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = http_status(status.code());
    *response.headers_mut() = metadata;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    advise(status, response.headers_mut());
    response
}

/// When to come back: the pushback of gRPC, or `google.rpc.RetryInfo` among the details.
pub(crate) fn retry_after(status: &Status) -> Option<Duration> {
    status.retry_after().or_else(|| {
        let fields = UnknownFields::decode_from_slice(status.details()).ok()?;
        texts(&fields, 3).take(DETAILS_MAX).find_map(retry_info)
    })
}

fn retry_info(any: &[u8]) -> Option<Duration> {
    let any = UnknownFields::decode_from_slice(any).ok()?;
    let url = texts(&any, 1).last()?;
    if !url.ends_with(b"/google.rpc.RetryInfo") {
        return None;
    }
    let info = UnknownFields::decode_from_slice(texts(&any, 2).last()?).ok()?;
    let delay = UnknownFields::decode_from_slice(texts(&info, 1).last()?).ok()?;
    let number = |wanted| {
        delay.iter().find_map(|field| match field.data {
            UnknownFieldData::Varint(value) if field.number == wanted => Some(value),
            _ => None,
        })
    };
    // Negative numbers are beyond the range, and no delay.
    let seconds = number(1).unwrap_or(0);
    let nanos = u32::try_from(number(2).unwrap_or(0)).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    i64::try_from(seconds).is_ok().then(|| Duration::new(seconds, nanos))
}

/// INVALID_ARGUMENT with a `google.rpc.BadRequest` that names the field.
pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let violation = [bytes(1, field.as_bytes()), bytes(2, message.as_bytes())].concat();
    let value = bytes(1, &violation);
    let any = [bytes(1, b"type.googleapis.com/google.rpc.BadRequest"), bytes(2, &value)].concat();
    let code = [0x08, Code::InvalidArgument as u8];
    let details = [&code[..], &bytes(2, message.as_bytes()), &bytes(3, &any)].concat();
    Status::new(Code::InvalidArgument, message).with_details(details.into())
}

/// A length-delimited field.
fn bytes(number: u32, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(content.len() + 6);
    encode_varint(u64::from(number << 3 | 2), &mut field);
    encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_status_is_json_with_its_details() {
        let schema = testing::schema();
        let status = invalid("lines[0].sku", "too long");
        assert_eq!(
            to_json(&schema, &status),
            json!({
                "code": 3,
                "message": "too long",
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{ "field": "lines[0].sku", "description": "too long" }],
                }],
            })
        );
    }

    #[test]
    fn details_of_an_unknown_type_keep_their_bytes() {
        let schema = testing::schema();
        let any = |url: &[u8], value: &[u8]| bytes(3, &[bytes(1, url), bytes(2, value)].concat());
        let encoded = [
            any(b"x/no.such.Type", &[1, 2]),
            any(b"x/shop.v1.Line", &bytes(1, b"s")),
            any(b"x/google.protobuf.Duration", &[8, 3]),
            any(b"x/shop.v1.Line", b"\xff"),
        ];
        let status = Status::new(Code::Aborted, "no").with_details(encoded.concat().into());
        assert_eq!(
            to_json(&schema, &status)["details"],
            json!([
                { "@type": "x/no.such.Type", "value": "AQI=" },
                { "@type": "x/shop.v1.Line", "sku": "s" },
                { "@type": "x/google.protobuf.Duration", "value": "3s" },
                { "@type": "x/shop.v1.Line", "value": "/w==" },
            ])
        );
        let nonsense = Status::new(Code::Aborted, "no").with_details(Bytes::from_static(b"\xff"));
        assert_eq!(to_json(&schema, &nonsense)["details"], json!([]));
    }

    #[test]
    fn http_clients_hear_when_to_come_back_and_how_to_sign_in() {
        let schema = testing::schema();
        let slow = Status::new(Code::ResourceExhausted, "slow").with_retry_after(Duration::from_millis(1200));
        let applications = Status::new(Code::ResourceExhausted, "slow").with_details(slow.details().clone());
        for status in [slow, applications] {
            let response = response(&schema, &status, HeaderMap::new());
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[RETRY_AFTER], "2");
        }
        let response = response(&schema, &Status::new(Code::Unauthenticated, "who"), HeaderMap::new());
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn every_code_has_the_http_status_of_google_rpc() {
        let statuses = Code::ALL.map(|code| http_status(code).as_u16());
        let want = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        assert_eq!(statuses, want);
    }
}
