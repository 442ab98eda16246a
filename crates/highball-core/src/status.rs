//! How an RPC ended. The only place where anything becomes a gRPC code.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::{Body, details};

/// `grpc-status`, the decimal code.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`, percent-encoded text for people.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// `grpc-status-details-bin`, an encoded `google.rpc.Status`.
pub const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// `grpc-retry-pushback-ms`, after how many milliseconds to retry (gRFC A6).
pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// The seventeen gRPC status codes (grpc doc/statuscodes.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the specification's own")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// Every code, in numeric order.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The specification's spelling: `NOT_FOUND`.
    #[must_use]
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        NAMES[self as usize]
    }

    /// Reads the decimal form: one or two digits, no sign, no leading zero. Anything else, and numbers beyond 16, are
    /// UNKNOWN: a status nobody can parse must not become OK.
    #[must_use]
    pub fn from_header(value: &HeaderValue) -> Self {
        let number = match value.as_bytes() {
            [digit @ b'0'..=b'9'] => usize::from(digit - b'0'),
            [b'1', digit @ b'0'..=b'6'] => 10 + usize::from(digit - b'0'),
            _ => usize::MAX,
        };
        Self::ALL.get(number).copied().unwrap_or(Self::Unknown)
    }

    /// What a response without `grpc-status` means (grpc doc/http-grpc-status-mapping.md).
    #[must_use]
    pub fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 | 431 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a stream that was reset with this HTTP/2 error code means to the caller (gRPC over HTTP/2, "Errors"). Codes that
    /// the specification does not map, STREAM_CLOSED among them, are UNKNOWN.
    #[must_use]
    pub fn from_reset(code: u32) -> Self {
        match code {
            // NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, FRAME_SIZE_ERROR,
            // COMPRESSION_ERROR, CONNECT_ERROR
            0x0..=0x4 | 0x6 | 0x9 | 0xa => Self::Internal,
            // REFUSED_STREAM
            0x7 => Self::Unavailable,
            // CANCEL
            0x8 => Self::Cancelled,
            // ENHANCE_YOUR_CALM
            0xb => Self::ResourceExhausted,
            // INADEQUATE_SECURITY
            0xc => Self::PermissionDenied,
            // STREAM_CLOSED, HTTP_1_1_REQUIRED, and whatever comes
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A code, a sentence for the peer, and machine-readable details.
///
/// The message goes to the peer as it stands: no addresses, paths or library texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    code: Code,
    message: String,
    details: Bytes,
    retry_after: Option<Duration>,
}

impl Status {
    /// A status without details. Messages are cut at [`MESSAGE_SIZE_BYTES_MAX`] when they are written to the wire.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Bytes::new(), retry_after: None }
    }

    /// Tells the caller when to come back: as `grpc-retry-pushback-ms` (gRFC A6), which retrying clients obey, and as
    /// google.rpc.RetryInfo in the details, which applications read. Replaces other details. Rounded up to a millisecond.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        let delay = Duration::from_millis(pushback_millis(delay));
        self.details = details::retry_info(self.code as i32, &self.message, delay);
        self.retry_after = Some(delay);
        self
    }

    /// When the caller may come back.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Adds an encoded `google.rpc.Status`; its code and message should agree with this one.
    #[must_use]
    pub fn with_details(mut self, details: Bytes) -> Self {
        self.details = details;
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for the peer.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The encoded `google.rpc.Status`; empty when there is none.
    #[must_use]
    pub fn details(&self) -> &Bytes {
        &self.details
    }

    /// Reads a status from trailers or a trailers-only head. `None` without `grpc-status`.
    ///
    /// Never fails on the rest: an undecodable message is kept as replacement characters, undecodable details are dropped
    /// (gRPC over HTTP/2: decoders must not error on invalid values).
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let code = Code::from_header(headers.get(STATUS)?);
        // How most RPCs end.
        if headers.len() == 1 {
            return Some(Self::new(code, ""));
        }
        let message = headers.get(MESSAGE).map(HeaderValue::as_bytes).unwrap_or_default();
        let message = percent_decode(message).decode_utf8_lossy().into_owned();
        let details =
            headers.get(DETAILS).and_then(|value| decode_binary(value.as_bytes())).unwrap_or_default();
        let pushback = headers.get(PUSHBACK).and_then(|value| value.to_str().ok()?.parse().ok());
        Some(Self { code, message, details, retry_after: pushback.map(Duration::from_millis) })
    }

    /// Writes the status as trailers.
    #[must_use]
    pub fn to_trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(3);
        trailers.insert(STATUS, HeaderValue::from(self.code as u16));
        if !self.message.is_empty() {
            let cut = self.message.floor_char_boundary(MESSAGE_SIZE_BYTES_MAX);
            let (message, _) = self.message.split_at(cut);
            // Percent-encoding leaves visible ASCII only, so the value is always a legal header.
            if let Ok(value) =
                HeaderValue::try_from(utf8_percent_encode(message, MESSAGE_ESCAPES).to_string())
            {
                trailers.insert(MESSAGE, value);
            }
        }
        if !self.details.is_empty()
            && let Ok(value) = HeaderValue::try_from(BINARY.encode(&self.details))
        {
            trailers.insert(DETAILS, value);
        }
        if let Some(delay) = self.retry_after {
            trailers.insert(PUSHBACK, HeaderValue::from(pushback_millis(delay)));
        }
        trailers
    }

    /// A genuine trailers-only response: one HEADERS block that ends the stream (gRPC over HTTP/2, "Responses").
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.to_trailers();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

fn pushback_millis(delay: Duration) -> u64 {
    // The header is a signed 32-bit number.
    u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).min(i32::MAX as u64)
}

/// Longest message put on the wire, before percent-encoding. With every byte escaped it still leaves room for the rest in
/// the 8 KiB of trailers that peers accept by default.
pub const MESSAGE_SIZE_BYTES_MAX: usize = 1024;

/// Decodes a `-bin` value: base64, padded or not (gRPC over HTTP/2, "Binary-Header"). `None` when it is neither.
#[must_use]
pub fn decode_binary(value: &[u8]) -> Option<Bytes> {
    BINARY.decode(value).ok().map(Bytes::from)
}

/// 0x20 to 0x24 and 0x26 to 0x7E go raw, all else as `%XX`. `CONTROLS` covers 0x00 to 0x1F and 0x7F.
const MESSAGE_ESCAPES: &AsciiSet = &CONTROLS.add(b'%');

/// Sends without padding, accepts both.
const BINARY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unparsable_status_is_unknown_and_never_ok() {
        for text in ["", "17", "20", "-1", "+0", "00", "000", "01", "ok", "0x0", " 0", "0 "] {
            assert_eq!(Code::from_header(&HeaderValue::from_static(text)), Code::Unknown, "{text:?}");
        }
        for code in Code::ALL {
            assert_eq!(Code::from_header(&HeaderValue::from(code as u16)), code);
        }
    }

    #[test]
    fn a_reset_becomes_the_code_of_the_specification() {
        use Code::*;
        let table = [
            [Internal, Internal, Internal, Internal, Internal, Unknown, Internal].as_slice(),
            &[
                Unavailable,
                Cancelled,
                Internal,
                Internal,
                ResourceExhausted,
                PermissionDenied,
                Unknown,
                Unknown,
            ],
        ];
        for (code, want) in (0..).zip(table.concat()) {
            assert_eq!(Code::from_reset(code), want, "{code:#x}");
        }
        assert_eq!(Code::from_reset(u32::MAX), Unknown);
    }

    #[test]
    fn a_trailers_only_response_ends_with_its_head() {
        let response = Status::new(Code::NotFound, "no \"50%\" é").into_response();
        assert!(http_body::Body::is_end_stream(response.body()));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "5");
        assert_eq!(response.headers()["grpc-message"], "no \"50%25\" %C3%A9");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let status = Status::new(Code::Internal, "é".repeat(2000));
        let back = Status::from_headers(&status.to_trailers()).unwrap();
        assert_eq!(back.message().len(), MESSAGE_SIZE_BYTES_MAX);
        assert!(back.message().chars().all(|c| c == 'é'));
    }

    #[test]
    fn details_are_read_padded_and_unpadded() {
        for text in ["AQ", "AQ=="] {
            assert_eq!(decode_binary(text.as_bytes()), Some(Bytes::from_static(&[1])));
        }
        assert_eq!(decode_binary(b"!"), None);
    }

    #[test]
    fn a_pushback_is_told_to_clients_and_to_applications() {
        let status =
            Status::new(Code::ResourceExhausted, "slow down").with_retry_after(Duration::from_micros(1500));
        let trailers = status.to_trailers();
        assert_eq!(trailers["grpc-retry-pushback-ms"], "2");
        assert_eq!(Status::from_headers(&trailers), Some(status));
    }

    proptest! {
        #[test]
        fn a_status_survives_its_trailers(number in 0_usize..17, message in ".{0,200}", details in proptest::collection::vec(any::<u8>(), 0..200)) {
            let status = Status::new(Code::ALL[number], message).with_details(details.into());
            prop_assert_eq!(Status::from_headers(&status.to_trailers()), Some(status));
        }
    }
}
