//! How the program ends, and what it says when it did not go well.

use std::fmt::Write as _;
use std::io;

use highball::Code;
use orders::client::{Detail, Error};
use serde_json::{Value, json};

use crate::out::{Clean, Out};

/// Why the program ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call failed.
    Call(Error),
    /// The command line, or what it names, cannot be used.
    Usage(String),
    /// Answered, and a part of it was refused, which was printed already.
    Part,
    /// Nobody reads the output any more.
    Gone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<connectrpc::ConnectError> for Failure {
    fn from(error: connectrpc::ConnectError) -> Self {
        Self::Call(error.into())
    }
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self::Usage(sentence)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // `orders-client list --all | head` is no failure.
            io::ErrorKind::BrokenPipe => Self::Gone,
            _ => Self::Usage(format!("cannot write to the standard output: {error}")),
        }
    }
}

/// Says what went wrong; the exit code.
pub(crate) fn exit_code(end: Result<(), Failure>, out: &Out, target: &str) -> u8 {
    match end {
        Ok(()) | Err(Failure::Gone) => 0,
        Err(Failure::Part) => 3,
        Err(Failure::Usage(sentence)) => {
            say(&format!("orders-client: {sentence}"));
            2
        }
        Err(Failure::Call(error)) => {
            let hopeful =
                matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted);
            say(&if out.is_json() { machine(&error).to_string() } else { human(&error, target) });
            if hopeful { 4 } else { 1 }
        }
    }
}

#[expect(clippy::print_stderr, reason = "the person who started the program reads it")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// The code, the sentence, and each detail on a line of its own.
fn human(error: &Error, target: &str) -> String {
    let mut text = format!("orders-client: {}", error.code());
    // A message that only strings the fields together would say everything twice.
    let told = error.fields().next().is_some()
        && error.fields().all(|field| error.message().contains(field.description.as_str()));
    // Writing into a String cannot fail.
    if !error.message().is_empty() && !told {
        write!(text, ": {}", Clean(error.message())).ok();
    }
    for detail in error.details() {
        match detail {
            Detail::BadRequest(request) => {
                for violation in &request.field_violations {
                    let (field, says) = (Clean(&violation.field), Clean(&violation.description));
                    // The service's sentences begin with the field.
                    let named = violation.description.starts_with(violation.field.as_str());
                    if named {
                        write!(text, "\n  - {says}").ok();
                    } else {
                        write!(text, "\n  - {field}: {says}").ok();
                    }
                }
            }
            Detail::ErrorInfo(info) => {
                write!(text, "\n  reason: {} ({})", Clean(&info.reason), Clean(&info.domain)).ok();
            }
            Detail::ResourceInfo(info) => {
                write!(text, "\n  resource: {} {}", Clean(&info.resource_type), Clean(&info.resource_name))
                    .ok();
            }
            // Told below, from wherever it comes.
            Detail::RetryInfo(_) => {}
            Detail::Other(name) => {
                write!(text, "\n  detail: {}", Clean(name)).ok();
            }
            _ => {}
        }
    }
    if let Some(delay) = error.retry_after() {
        write!(text, "\n  try again after {delay:?}").ok();
    }
    if error.code() == Code::Unavailable {
        write!(text, "\n  why: highball explain {}", Clean(target)).ok();
    }
    text
}

fn machine(error: &Error) -> Value {
    let details: Vec<Value> = error
        .details()
        .iter()
        .map(|detail| match detail {
            Detail::BadRequest(request) => json!({ "type": "google.rpc.BadRequest", "value": request }),
            Detail::ErrorInfo(info) => json!({ "type": "google.rpc.ErrorInfo", "value": info }),
            Detail::ResourceInfo(info) => json!({ "type": "google.rpc.ResourceInfo", "value": info }),
            Detail::RetryInfo(info) => json!({ "type": "google.rpc.RetryInfo", "value": info }),
            Detail::Other(name) => json!({ "type": name }),
            _ => Value::Null,
        })
        .collect();
    let retry_after_ms = error.retry_after().and_then(|delay| u64::try_from(delay.as_millis()).ok());
    json!({ "error": {
        "code": error.code().name(),
        "message": error.message(),
        "details": details,
        "retry_after_ms": retry_after_ms,
    } })
}
