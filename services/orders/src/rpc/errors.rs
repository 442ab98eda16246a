//! What a caller sees when something is wrong. Mistakes of the caller are told in full; ours are logged and
//! masked.

use std::error::Error;

use buffa::Message;
use connectrpc::{ConnectError, ErrorDetail};

use crate::proto::google::rpc::bad_request::FieldViolation;
use crate::proto::google::rpc::{BadRequest, ErrorInfo, ResourceInfo};
use crate::store::{ReadError, WriteError};

/// Domain of our [`ErrorInfo`] reasons.
const DOMAIN: &str = "orders.highball.rs";

/// Most fields named in one answer: details travel in a header, and headers are small.
const MAX_FIELDS: usize = 20;

/// Most fields named in the message, for people.
const MAX_NAMED: usize = 5;

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Path such as `items[0].quantity`.
    pub(crate) field: String,
    /// A sentence that names the field.
    pub(crate) sentence: String,
}

impl Problem {
    /// "FIELD SAYS".
    pub(crate) fn new(field: impl Into<String>, says: impl std::fmt::Display) -> Self {
        let field = field.into();
        Self { sentence: format!("{field} {says}"), field }
    }

    /// With a sentence of its own.
    pub(crate) fn saying(field: impl Into<String>, sentence: impl ToString) -> Self {
        Self { field: field.into(), sentence: sentence.to_string() }
    }
}

/// INVALID_ARGUMENT with a BadRequest. All problems are counted, the first ones are named.
pub(crate) fn invalid(problems: Vec<Problem>) -> ConnectError {
    let named: Vec<&str> = problems.iter().take(MAX_NAMED).map(|problem| problem.sentence.as_str()).collect();
    let mut message = named.join("; ");
    if problems.len() > MAX_NAMED {
        message.push_str(&format!("; and {} more", problems.len() - MAX_NAMED));
    }
    let field_violations = problems
        .into_iter()
        .take(MAX_FIELDS)
        .map(|problem| FieldViolation {
            field: problem.field,
            description: problem.sentence,
            ..Default::default()
        })
        .collect();
    let detail = BadRequest { field_violations, ..Default::default() };
    ConnectError::invalid_argument(message).with_detail(detailed("google.rpc.BadRequest", &detail))
}

/// NOT_FOUND with a ResourceInfo. `kind` is a message name, `noun` its word for people.
pub(crate) fn not_found(kind: &str, noun: &str, id: &str) -> ConnectError {
    let message = format!("{noun} \"{id}\" does not exist");
    ConnectError::not_found(message.clone()).with_detail(resource(kind, id, message))
}

/// ALREADY_EXISTS with a ResourceInfo.
pub(crate) fn email_taken(kind: &str, email: &str) -> ConnectError {
    let message = format!("a user with the email \"{email}\" exists");
    ConnectError::already_exists(message.clone()).with_detail(resource(kind, email, message))
}

/// FAILED_PRECONDITION with an ErrorInfo.
pub(crate) fn key_reused() -> ConnectError {
    let info = error_info("IDEMPOTENCY_KEY_REUSED");
    ConnectError::failed_precondition("idempotency-key was used for another request").with_detail(info)
}

/// RESOURCE_EXHAUSTED with an ErrorInfo.
pub(crate) fn exhausted(reason: &str, message: impl Into<String>) -> ConnectError {
    ConnectError::resource_exhausted(message).with_detail(error_info(reason))
}

/// UNAVAILABLE: this server goes away, another one answers.
pub(crate) fn draining() -> ConnectError {
    ConnectError::unavailable("server is draining")
}

/// UNAVAILABLE: nothing was done, and a later try may succeed.
fn busy() -> ConnectError {
    ConnectError::unavailable("the database is busy")
}

/// What a failed read says. `doing` completes "failed to ...".
pub(crate) fn read(doing: &'static str, cause: &ReadError) -> ConnectError {
    match cause {
        ReadError::Busy => busy(),
        ReadError::Expired(expired) => ConnectError::deadline_exceeded(expired.to_string()),
        ReadError::Failed(_) => masked(doing, cause),
    }
}

/// What a failed write says, when the rules have nothing to say about it.
pub(crate) fn write(doing: &'static str, cause: &WriteError) -> ConnectError {
    match cause {
        WriteError::Closed => draining(),
        WriteError::Busy => busy(),
        WriteError::Expired(expired) => ConnectError::deadline_exceeded(expired.to_string()),
        WriteError::Rejected(_) | WriteError::Failed(_) => masked(doing, cause),
    }
}

/// INTERNAL that tells the caller nothing and the log everything.
pub(crate) fn masked(doing: &'static str, cause: &dyn Error) -> ConnectError {
    let mut chain = cause.to_string();
    let mut next = cause.source();
    while let Some(deeper) = next {
        chain.push_str(": ");
        chain.push_str(&deeper.to_string());
        next = deeper.source();
    }
    tracing::error!(cause = chain, "failed to {doing}");
    ConnectError::internal(format!("failed to {doing}"))
}

fn error_info(reason: &str) -> ErrorDetail {
    let info = ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned(), ..Default::default() };
    detailed("google.rpc.ErrorInfo", &info)
}

fn resource(kind: &str, name: &str, description: String) -> ErrorDetail {
    let info = ResourceInfo {
        resource_type: kind.to_owned(),
        resource_name: name.to_owned(),
        description,
        ..Default::default()
    };
    detailed("google.rpc.ResourceInfo", &info)
}

fn detailed(name: &str, message: &impl Message) -> ErrorDetail {
    ErrorDetail::from_message(name, message)
}
