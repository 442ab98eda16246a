//! Rows of orders.

use std::collections::HashMap;
use std::str::FromStr;

use rust_decimal::Decimal;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use crate::clock::Micros;
use crate::domain::order::{Item, NewOrder, Order, Status};

/// Items of one INSERT. SQLite takes 32,766 values in a statement; smaller statements are prepared faster.
const ITEMS_PER_INSERT: usize = 100;

/// Where a page begins: before this order, in the order of identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor(pub(crate) Uuid);

type Row = (String, String, String, String, i64, i64, i64);

const COLUMNS: &str = "SELECT id, user_id, total, status, version, created_us, updated_us FROM orders";

/// Adds a new order and its items.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    id: Uuid,
    new: NewOrder,
    now: Micros,
) -> Result<Order, sqlx::Error> {
    let order = Order {
        id: id.to_string(),
        user_id: new.user_id,
        items: new.items,
        total: new.total,
        status: Status::Pending,
        version: 1,
        created: now,
        updated: now,
    };
    sqlx::query(
        "INSERT INTO orders (id, user_id, total, status, version, created_us, updated_us) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&order.id)
    .bind(&order.user_id)
    .bind(order.total.to_string())
    .bind(order.status.name())
    .bind(order.version)
    .bind(now.0)
    .bind(now.0)
    .execute(&mut *connection)
    .await?;
    insert_items(connection, &order).await?;
    Ok(order)
}

async fn insert_items(connection: &mut SqliteConnection, order: &Order) -> Result<(), sqlx::Error> {
    let numbered: Vec<(i64, &Item)> = (0..).zip(&order.items).collect();
    for chunk in numbered.chunks(ITEMS_PER_INSERT) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO order_items (order_id, position, product_id, quantity, price) ",
        );
        insert.push_values(chunk, |mut row, (position, item)| {
            row.push_bind(&order.id)
                .push_bind(position)
                .push_bind(&item.product_id)
                .push_bind(i64::from(item.quantity))
                .push_bind(item.price.to_string());
        });
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Sets the status and counts the change.
pub(super) async fn update(connection: &mut SqliteConnection, order: &Order) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE orders SET status = ?, version = ?, updated_us = ? WHERE id = ?")
        .bind(order.status.name())
        .bind(order.version)
        .bind(order.updated.0)
        .bind(&order.id)
        .execute(connection)
        .await?;
    Ok(())
}

/// One order with its items.
pub(super) async fn find(connection: &mut SqliteConnection, id: &str) -> Result<Option<Order>, sqlx::Error> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, user_id, total, status, version, created_us, updated_us FROM orders WHERE id = ?",
    )
    .bind(id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut orders = vec![from_row(row)?];
    fill_items(connection, &mut orders).await?;
    Ok(orders.pop())
}

/// At most `limit` orders, newest first, still without their items.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    user_id: &str,
    before: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Order>, sqlx::Error> {
    let mut select = QueryBuilder::<Sqlite>::new(COLUMNS);
    let mut glue = " WHERE ";
    if !user_id.is_empty() {
        select.push(glue).push("user_id = ").push_bind(user_id);
        glue = " AND ";
    }
    if let Some(Cursor(id)) = before {
        select.push(glue).push("id < ").push_bind(id.to_string());
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    let rows: Vec<Row> = select.build_query_as().fetch_all(connection).await?;
    rows.into_iter().map(from_row).collect()
}

/// Reads the items of `orders`, which came without.
pub(super) async fn fill_items(
    connection: &mut SqliteConnection,
    orders: &mut [Order],
) -> Result<(), sqlx::Error> {
    if orders.is_empty() {
        return Ok(());
    }
    let mut select = QueryBuilder::<Sqlite>::new(
        "SELECT order_id, product_id, quantity, price FROM order_items WHERE order_id IN (",
    );
    let mut ids = select.separated(", ");
    for order in orders.iter() {
        ids.push_bind(&order.id);
    }
    select.push(") ORDER BY order_id, position");
    let rows: Vec<(String, String, i32, String)> = select.build_query_as().fetch_all(connection).await?;

    let mut by_order: HashMap<String, Vec<Item>> = HashMap::new();
    for (order_id, product_id, quantity, price) in rows {
        let item = Item { product_id, quantity, price: decode(&price)? };
        by_order.entry(order_id).or_default().push(item);
    }
    for order in orders {
        order.items = by_order.remove(&order.id).unwrap_or_default();
    }
    Ok(())
}

fn from_row(row: Row) -> Result<Order, sqlx::Error> {
    let (id, user_id, total, status, version, created, updated) = row;
    Ok(Order {
        id,
        user_id,
        items: Vec::new(),
        total: decode::<Decimal>(&total)?,
        status: decode(&status)?,
        version,
        created: Micros(created),
        updated: Micros(updated),
    })
}

/// Reads a value kept as text. What this program wrote it can read; anything else is damage, not a caller's
/// mistake.
pub(super) fn decode<T>(text: &str) -> Result<T, sqlx::Error>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(|cause: T::Err| sqlx::Error::Decode(cause.into()))
}
