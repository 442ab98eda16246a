//! Rows of changes: what happened to orders, whichever process did it.

use std::sync::Arc;

use sqlx::SqliteConnection;

use super::orders::decode;
use crate::clock::Micros;
use crate::domain::order::{Order, Status};

/// Changes that are kept, about a megabyte. At a thousand changes a second a process may stand still for ten seconds
/// before its watchers are told that they missed some.
const KEPT: i64 = 10_000;

/// One change of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// One more than that of the change before.
    pub(super) sequence: i64,
    pub(super) order_id: String,
    version: i64,
    status: Status,
    updated: Micros,
}

impl Row {
    /// `order`, read at any time, as it stood after this change.
    pub(super) fn applied_to(&self, order: Order) -> Arc<Order> {
        Arc::new(Order { version: self.version, status: self.status, updated: self.updated, ..order })
    }
}

/// Notes that `order` has changed. Called in the transaction that changes it.
pub(super) async fn record(connection: &mut SqliteConnection, order: &Order) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO order_changes (sequence, order_id, version, status, updated_us) \
         SELECT COALESCE(MAX(sequence), 0) + 1, ?, ?, ?, ? FROM order_changes",
    )
    .bind(&order.id)
    .bind(order.version)
    .bind(order.status.name())
    .bind(order.updated.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all but the latest [`KEPT`]. Never the last one: the next number follows from it.
pub(super) async fn prune(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let delete = "DELETE FROM order_changes \
                  WHERE sequence <= (SELECT MAX(sequence) FROM order_changes) - ?";
    sqlx::query(delete).bind(KEPT).execute(connection).await.map(drop)
}

/// The number of the latest change; 0 before the first.
pub(super) async fn last(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let query = "SELECT COALESCE(MAX(sequence), 0) FROM order_changes";
    sqlx::query_scalar(query).fetch_one(connection).await
}

/// At most `limit` changes that came after the one with the number `seen`, in their order.
pub(super) async fn after(
    connection: &mut SqliteConnection,
    seen: i64,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let rows: Vec<(i64, String, i64, String, i64)> = sqlx::query_as(
        "SELECT sequence, order_id, version, status, updated_us FROM order_changes \
         WHERE sequence > ? ORDER BY sequence LIMIT ?",
    )
    .bind(seen)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(sequence, order_id, version, status, updated)| {
            Ok(Row { sequence, order_id, version, status: decode(&status)?, updated: Micros(updated) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use sqlx::{Connection as _, Executor as _};

    use super::*;

    async fn connection() -> SqliteConnection {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let schema = include_str!("../../migrations/0002_order_changes.sql");
        connection.execute(schema).await.unwrap();
        connection
    }

    fn order(version: i64) -> Order {
        Order {
            id: "a".into(),
            user_id: "ada".into(),
            items: Vec::new(),
            total: Decimal::ZERO,
            status: Status::Shipped,
            version,
            created: Micros(1),
            updated: Micros(version),
        }
    }

    #[tokio::test]
    async fn changes_are_read_in_the_order_they_were_written_and_give_back_each_state() {
        let mut connection = connection().await;
        assert_eq!(last(&mut connection).await.unwrap(), 0);
        for version in 1..=5 {
            record(&mut connection, &order(version)).await.unwrap();
        }
        assert_eq!(last(&mut connection).await.unwrap(), 5);
        let rows = after(&mut connection, 2, 2).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), [3, 4]);
        let newest = Order { status: Status::Delivered, ..order(9) };
        assert_eq!(*rows[0].applied_to(newest), order(3));
    }

    #[tokio::test]
    async fn only_the_latest_changes_are_kept_and_their_numbers_go_on() {
        let mut connection = connection().await;
        let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10007) \
                    INSERT INTO order_changes SELECT i, 'a', i, 'SHIPPED', i FROM n";
        sqlx::query(fill).execute(&mut connection).await.unwrap();
        prune(&mut connection).await.unwrap();
        let rows = after(&mut connection, 0, i64::MAX).await.unwrap();
        assert_eq!((rows.len(), rows[0].sequence), (10_000, 8));
        record(&mut connection, &order(1)).await.unwrap();
        assert_eq!(last(&mut connection).await.unwrap(), 10_008);
    }
}
