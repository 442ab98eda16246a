//! Reads committed rows over a small pool of read-only connections.

use sqlx::sqlite::SqlitePool;
use thiserror::Error;
use uuid::Uuid;

use super::orders::{self, Cursor};
use super::users::{self, UserPage};
use crate::domain::filter::Comparison;
use crate::domain::order::Order;
use crate::domain::user::User;

/// Why a read failed.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// Every connection stayed busy for longer than a call should wait, or the service is closing.
    #[error("no connection to the database was free")]
    Busy,
    /// The database failed.
    #[error("the database failed to read")]
    Failed(#[source] sqlx::Error),
}

impl From<sqlx::Error> for ReadError {
    fn from(cause: sqlx::Error) -> Self {
        match cause {
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::Busy,
            other => Self::Failed(other),
        }
    }
}

/// Reads. Cheap to clone.
///
/// # Cancel safety
///
/// Every method may be dropped at any time; its connection goes back to the pool.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pool: SqlitePool,
}

impl Reader {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    /// One order with its items.
    pub(crate) async fn order(&self, id: &str) -> Result<Option<Order>, ReadError> {
        let mut connection = self.pool.acquire().await?;
        Ok(orders::find(&mut connection, id).await?)
    }

    /// At most `limit` orders, newest first, without their items: a whole page with items could be large.
    pub(crate) async fn order_page(
        &self,
        user_id: &str,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Order>, ReadError> {
        let mut connection = self.pool.acquire().await?;
        Ok(orders::page(&mut connection, user_id, before, rows(limit)).await?)
    }

    /// `orders` with their items. Items never change, so they fit however much later they are read.
    pub(crate) async fn with_items(&self, mut orders: Vec<Order>) -> Result<Vec<Order>, ReadError> {
        let mut connection = self.pool.acquire().await?;
        orders::fill_items(&mut connection, &mut orders).await?;
        Ok(orders)
    }

    /// One user.
    pub(crate) async fn user(&self, id: &str) -> Result<Option<User>, ReadError> {
        let mut connection = self.pool.acquire().await?;
        Ok(users::find(&mut connection, id).await?)
    }

    /// At most `limit` users, newest first, and their number, both from one moment.
    pub(crate) async fn user_page(
        &self,
        filter: &[Comparison],
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<UserPage, ReadError> {
        let mut moment = self.pool.begin().await?;
        let page = users::page(&mut moment, filter, before, rows(limit)).await?;
        moment.commit().await?;
        Ok(page)
    }

    /// Ends all reads and closes the connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
