//! Why a call failed, for programs.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use buffa::Message;
use connectrpc::{ConnectError, ErrorDetail};
use highball::Code;
use highball::core::status::PUSHBACK;

use crate::proto::google::rpc::bad_request::FieldViolation;
use crate::proto::google::rpc::{BadRequest, ErrorInfo, ResourceInfo, RetryInfo};

/// How a call failed: the status as the server, or the channel, gave it.
#[derive(Debug, Clone)]
pub struct Error {
    code: Code,
    message: String,
    details: Vec<Detail>,
    pushback: Option<Duration>,
}

/// What a status says beyond its message (`google/rpc/error_details.proto`).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Detail {
    /// Which fields of the request are at fault.
    BadRequest(BadRequest),
    /// The reason as a constant.
    ErrorInfo(ErrorInfo),
    /// What was looked for or is in the way.
    ResourceInfo(ResourceInfo),
    /// When to come back.
    RetryInfo(RetryInfo),
    /// A message of this type that is not known here, or cannot be read.
    Other(String),
}

impl Error {
    /// INVALID_ARGUMENT of this side, for a call that is not made.
    pub(super) fn invalid(field: &str, sentence: String) -> Self {
        let violation =
            FieldViolation { field: field.to_owned(), description: sentence.clone(), ..Default::default() };
        let request = BadRequest { field_violations: vec![violation], ..Default::default() };
        let details = vec![Detail::BadRequest(request)];
        Self { code: Code::InvalidArgument, message: sentence, details, pushback: None }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// All details.
    #[must_use]
    pub fn details(&self) -> &[Detail] {
        &self.details
    }

    /// The fields at fault, of INVALID_ARGUMENT.
    pub fn fields(&self) -> impl Iterator<Item = &FieldViolation> {
        self.details.iter().flat_map(|detail| match detail {
            Detail::BadRequest(request) => request.field_violations.as_slice(),
            _ => &[],
        })
    }

    /// The reason as a constant, such as `IDEMPOTENCY_KEY_REUSED`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| match detail {
            Detail::ErrorInfo(info) => Some(info.reason.as_str()),
            _ => None,
        })
    }

    /// When to come back, if the server says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let told = self.details.iter().find_map(|detail| match detail {
            Detail::RetryInfo(info) => info.retry_delay.as_option(),
            _ => None,
        });
        let told = told.and_then(|delay| {
            Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
        });
        told.or(self.pushback)
    }

    /// Whether the `idempotency-key` was used for another request before.
    #[must_use]
    pub fn is_key_reused(&self) -> bool {
        self.reason() == Some("IDEMPOTENCY_KEY_REUSED")
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        // Codes are the same seventeen; the library knows sixteen, because OK is no error.
        let number = usize::try_from(error.code.grpc_code()).unwrap_or(usize::MAX);
        let pushback = [error.trailers(), error.response_headers()].into_iter().find_map(|headers| {
            headers.get(PUSHBACK)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
        });
        Self {
            code: Code::ALL.get(number).copied().unwrap_or(Code::Unknown),
            details: error.details.iter().map(detail).collect(),
            message: error.message.unwrap_or_default(),
            pushback,
        }
    }
}

/// Either kind of base64, as readers of details must.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn detail(detail: &ErrorDetail) -> Detail {
    let name = detail.type_url.rsplit('/').next().unwrap_or_default();
    let bytes = detail.value.as_deref().and_then(|value| BASE64.decode(value).ok()).unwrap_or_default();
    let known = match name {
        "google.rpc.BadRequest" => read(&bytes).map(Detail::BadRequest),
        "google.rpc.ErrorInfo" => read(&bytes).map(Detail::ErrorInfo),
        "google.rpc.ResourceInfo" => read(&bytes).map(Detail::ResourceInfo),
        "google.rpc.RetryInfo" => read(&bytes).map(Detail::RetryInfo),
        _ => None,
    };
    known.unwrap_or_else(|| Detail::Other(name.to_owned()))
}

fn read<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode_from_slice(bytes).ok()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_read_and_what_is_not_known_keeps_its_name() {
        let info = ErrorInfo { reason: "IDEMPOTENCY_KEY_REUSED".into(), ..Default::default() };
        let mut unknown = ErrorDetail::from_message("type.googleapis.com/shop.v1.Hint", &info);
        unknown.value = Some("!".to_owned());
        let error = ConnectError::failed_precondition("no")
            .with_detail(ErrorDetail::from_message("type.googleapis.com/google.rpc.ErrorInfo", &info))
            .with_detail(unknown);
        let error = Error::from(error);
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (Code::FailedPrecondition, "FAILED_PRECONDITION: no")
        );
        assert!(error.is_key_reused());
        assert_eq!(error.details()[1], Detail::Other("shop.v1.Hint".to_owned()));
    }

    #[test]
    fn a_pushback_says_when_to_come_back_where_no_detail_does() {
        let mut error = ConnectError::resource_exhausted("slow down");
        error.trailers_mut().insert(PUSHBACK, "1500".parse().unwrap());
        assert_eq!(Error::from(error).retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!(Error::from(ConnectError::internal("")).retry_after(), None);
    }
}
