//! `WatchOrder`: the state now, then every change.

use std::sync::Arc;

use connectrpc::ConnectError;
use futures_util::Stream;
use futures_util::stream;
use highball::Draining;

use super::{convert, errors, orders};
use crate::domain::order::Order;
use crate::proto::ecommerce::v1::OrderUpdate;
use crate::store::{Change, Reader, Store, Watching};

/// The updates of one order. The watch begins before the state is read, so no change falls between the two.
///
/// # Cancel safety
///
/// Dropping the stream ends the watch.
pub(super) async fn updates(
    store: &Store,
    draining: Draining,
    id: &str,
) -> Result<impl Stream<Item = Result<OrderUpdate, ConnectError>> + Send + use<>, ConnectError> {
    let watching = store
        .watchers
        .watch(id)
        .map_err(|_| errors::exhausted("TOO_MANY_WATCHERS", "too many orders are being watched"))?;
    watching.begun().await.map_err(|cause| errors::read("watch order", &cause))?;
    let now = latest(&store.reader, id).await?;
    let watch =
        Watch { id: id.to_owned(), reader: store.reader.clone(), watching, draining, next: Next::Send(now) };
    Ok(stream::try_unfold(watch, Watch::step))
}

struct Watch {
    id: String,
    reader: Reader,
    watching: Watching,
    draining: Draining,
    next: Next,
}

enum Next {
    /// A state the caller has not seen.
    Send(Arc<Order>),
    /// The caller has seen this version: wait for a later one.
    After(i64),
    /// The caller has seen a final state.
    End,
}

impl Watch {
    async fn step(mut self) -> Result<Option<(OrderUpdate, Self)>, ConnectError> {
        let order = match std::mem::replace(&mut self.next, Next::End) {
            Next::End => return Ok(None),
            Next::Send(order) => order,
            Next::After(version) => self.later_than(version).await?,
        };
        if !order.status.is_final() {
            self.next = Next::After(order.version);
        }
        let update = OrderUpdate {
            order: convert::order(&order).into(),
            updated_at: convert::timestamp(order.updated).into(),
            ..Default::default()
        };
        Ok(Some((update, self)))
    }

    /// Waits for a state the caller has not seen. One that was read and is published a moment later is told
    /// once.
    async fn later_than(&mut self, version: i64) -> Result<Arc<Order>, ConnectError> {
        loop {
            let change = tokio::select! {
                biased;
                () = self.draining.begun() => return Err(errors::draining()),
                change = self.watching.next() => change,
            };
            let order = match change {
                Some(Change::Now(order)) => order,
                Some(Change::Missed) => latest(&self.reader, &self.id).await?,
                None => return Err(errors::draining()),
            };
            if order.version > version {
                return Ok(order);
            }
        }
    }
}

async fn latest(reader: &Reader, id: &str) -> Result<Arc<Order>, ConnectError> {
    let found = reader.order(id).await.map_err(|cause| errors::read("watch order", &cause))?;
    found.map(Arc::new).ok_or_else(|| orders::unknown_order(id))
}
