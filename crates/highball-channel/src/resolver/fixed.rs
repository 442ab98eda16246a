//! Endpoints that are known from the start.

use std::future;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{ResolveError, Resolver, Update};
use crate::Endpoint;

/// One update, and never another.
#[derive(Debug)]
pub struct Fixed {
    update: Update,
    told: bool,
}

impl Fixed {
    /// These endpoints.
    #[must_use]
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { update: Update::new(endpoints), told: false }
    }
}

impl Resolver for Fixed {
    fn next(&mut self) -> BoxFuture<'_, Result<Update, ResolveError>> {
        // Told when it is polled, and then it is ready: a future that is dropped before loses nothing.
        async move {
            if std::mem::replace(&mut self.told, true) {
                future::pending().await
            } else {
                Ok(self.update.clone())
            }
        }
        .boxed()
    }

    fn refresh(&mut self) {}

    fn restart(&mut self) {
        self.told = false;
    }
}
