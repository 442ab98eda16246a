//! What is on disk when the program is gone.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// The identifiers of the orders of each numbered request. An order without items, or with an item of another order,
/// stops the test.
pub(crate) async fn read(dir: &Path) -> BTreeMap<usize, Vec<String>> {
    let options = SqliteConnectOptions::new().filename(dir.join("orders.db"));
    let mut database = options.connect().await.unwrap();
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT orders.id, order_items.product_id FROM orders \
         LEFT JOIN order_items ON order_items.order_id = orders.id",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    database.close().await.unwrap();
    let mut by_request: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (id, product) in rows {
        let number = product.strip_prefix("request-").unwrap().parse().unwrap();
        by_request.entry(number).or_default().push(id);
    }
    by_request
}
