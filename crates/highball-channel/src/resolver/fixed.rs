//! Endpoints that are known from the start.

use std::future;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{ResolveError, Resolver, Update};
use crate::Endpoint;

/// One update, and never another.
#[derive(Debug)]
pub struct Fixed {
    update: Option<Update>,
}

impl Fixed {
    /// These endpoints.
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { update: Some(Update::new(endpoints)) }
    }
}

impl Resolver for Fixed {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>> {
        // Taken when it is polled, and then it is ready: a future that is dropped before loses nothing.
        async move {
            match self.update.take() {
                Some(update) => Ok(update),
                None => future::pending().await,
            }
        }
        .boxed()
    }

    fn refresh(&mut self) {}
}
