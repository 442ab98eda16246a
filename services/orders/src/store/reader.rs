//! Reads committed rows, within the time the RPC has left.

use std::sync::Arc;

use highball::current::{self, Expired};
use sqlx::Connection as _;
use thiserror::Error;
use uuid::Uuid;

use super::changes;
use super::orders::{self, Cursor};
use super::readers::Readers;
use super::sqlite::{self, Verdict};
use super::users::{self, UserPage};
use crate::domain::filter::Comparison;
use crate::domain::order::Order;
use crate::domain::user::User;

/// Why a read failed.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// Every connection stayed busy for longer than a call should wait, another process held the file, or the service is
    /// closing.
    #[error("no connection to the database was free")]
    Busy,
    /// The deadline of the RPC passed; what ran was stopped.
    #[error(transparent)]
    Expired(Expired),
    /// The database failed.
    #[error("the database failed to read")]
    Failed(#[source] sqlx::Error),
}

impl From<sqlx::Error> for ReadError {
    fn from(cause: sqlx::Error) -> Self {
        match sqlite::verdict(&cause) {
            Verdict::Busy => Self::Busy,
            _ => Self::Failed(cause),
        }
    }
}

/// Reads. Cheap to clone.
///
/// Each read inherits the deadline of the RPC it is made for: a statement that would begin later does not begin, one that
/// runs is stopped.
///
/// # Cancel safety
///
/// Every method may be dropped at any time; its statement is stopped and its connection goes back.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    readers: Arc<Readers>,
}

impl Reader {
    pub(super) fn new(readers: Readers) -> Self {
        Self { readers: Arc::new(readers) }
    }

    /// One order with its items.
    pub(crate) async fn order(&self, id: &str) -> Result<Option<Order>, ReadError> {
        in_time(async {
            let mut lease = self.readers.lease().await?;
            let order = orders::find(lease.connection(), id).await;
            lease.finish(order)
        })
        .await
    }

    /// At most `limit` orders, newest first, without their items: a whole page with items could be large.
    pub(crate) async fn order_page(
        &self,
        user_id: &str,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Order>, ReadError> {
        in_time(async {
            let mut lease = self.readers.lease().await?;
            let page = orders::page(lease.connection(), user_id, before, rows(limit)).await;
            lease.finish(page)
        })
        .await
    }

    /// `orders` with their items. Items never change, so they fit however much later they are read.
    pub(crate) async fn with_items(&self, mut orders: Vec<Order>) -> Result<Vec<Order>, ReadError> {
        in_time(async {
            let mut lease = self.readers.lease().await?;
            let filled = orders::fill_items(lease.connection(), &mut orders).await;
            lease.finish(filled)
        })
        .await?;
        Ok(orders)
    }

    /// One user.
    pub(crate) async fn user(&self, id: &str) -> Result<Option<User>, ReadError> {
        in_time(async {
            let mut lease = self.readers.lease().await?;
            let user = users::find(lease.connection(), id).await;
            lease.finish(user)
        })
        .await
    }

    /// At most `limit` users, newest first, and their number, both from one moment.
    pub(crate) async fn user_page(
        &self,
        filter: &[Comparison],
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<UserPage, ReadError> {
        in_time(async {
            let mut lease = self.readers.lease().await?;
            let mut moment = lease.connection().begin().await?;
            let page = users::page(&mut moment, filter, before, rows(limit)).await?;
            moment.commit().await?;
            lease.finish(Ok(page))
        })
        .await
    }

    /// The number of the latest change of an order.
    pub(super) async fn last_change(&self) -> Result<i64, ReadError> {
        in_time(async {
            let mut lease = self.readers.lease().await?;
            let last = changes::last(lease.connection()).await;
            lease.finish(last)
        })
        .await
    }

    /// At most `limit` changes of orders after the one with the number `seen`.
    pub(super) async fn changes_after(
        &self,
        seen: i64,
        limit: usize,
    ) -> Result<Vec<changes::Row>, ReadError> {
        in_time(async {
            let mut lease = self.readers.lease().await?;
            let changes = changes::after(lease.connection(), seen, rows(limit)).await;
            lease.finish(changes)
        })
        .await
    }

    /// Ends all reads and closes the connections.
    pub(super) async fn close(&self) {
        self.readers.close().await;
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
    current::in_time(read).await.unwrap_or_else(|expired| Err(ReadError::Expired(expired)))
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
