//! Which dialect a request speaks: by its content type, then by path and method.

use http::Request;

use crate::Schema;

/// The dialects a gateway understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Plain HTTP by `google.api.http`, and whatever nobody else claims.
    Rest,
}

impl Spoken {
    /// The dialect of `request`; [`Spoken::Rest`] when no other claims it.
    pub(crate) fn recognise<B>(_request: &Request<B>, _schema: &Schema) -> Self {
        Self::Rest
    }
}
