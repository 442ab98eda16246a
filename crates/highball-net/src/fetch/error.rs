//! Why there is no response.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::target::{InvalidUrl, Target};
use crate::{DialError, LookupError};

/// A request without a whole response, in one sentence for the operator. It names the URL without its query: never send it
/// to a caller.
#[derive(Debug)]
pub struct FetchError {
    /// `None` when it is not a URL.
    url: Option<String>,
    cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    Url(InvalidUrl),
    Name(LookupError),
    NotLoopback,
    NoTls,
    Dial(DialError),
    Http(hyper::Error),
    TooLarge(usize),
    Late(Duration),
}

impl FetchError {
    pub(super) fn url(error: InvalidUrl) -> Self {
        Self { url: None, cause: Cause::Url(error) }
    }

    pub(super) fn of(target: &Target, cause: Cause) -> Self {
        Self { url: Some(target.to_string()), cause }
    }

    /// Whether it ran out of time.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        match &self.cause {
            Cause::Late(_) => true,
            Cause::Dial(error) => error.timed_out(),
            _ => false,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(url) = &self.url {
            write!(f, "{url}: ")?;
        }
        match &self.cause {
            Cause::Url(error) => write!(f, "the URL cannot be used: {error}"),
            Cause::Name(error) => error.fmt(f),
            Cause::NotLoopback => {
                f.write_str("the name has no address on this machine, and http is for this machine only")
            }
            Cause::NoTls => f.write_str("nothing here says which CAs to trust for https"),
            Cause::Dial(error) => error.fmt(f),
            Cause::Http(error) => write!(f, "the answer broke off or is not HTTP: {}", deepest(error)),
            Cause::TooLarge(max) => write!(f, "the answer is larger than {max} bytes"),
            Cause::Late(limit) => write!(f, "no whole answer within {limit:?}"),
        }
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match &self.cause {
            Cause::Url(error) => error,
            Cause::Name(error) => error,
            Cause::Dial(error) => error,
            Cause::Http(error) => error,
            Cause::NotLoopback | Cause::NoTls | Cause::TooLarge(_) | Cause::Late(_) => return None,
        })
    }
}

/// hyper's own words are general; what is below them, such as TLS's, is not.
fn deepest(error: &hyper::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
