//! Rows of request keys: which request made which row.

use sqlx::SqliteConnection;

use crate::clock::Micros;
use crate::domain::request_key::RequestKey;

/// What a key says about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing: the request is new.
    Never,
    /// The same request made this row.
    Same(String),
    /// Another request used the key.
    Other,
}

/// Looks a key up. Called in the transaction that will use the answer.
pub(super) async fn look_up(
    connection: &mut SqliteConnection,
    key: &RequestKey,
) -> Result<Seen, sqlx::Error> {
    let row: Option<(String, String)> = sqlx::query_as(
        "SELECT fingerprint, resource_id FROM request_keys \
         WHERE method = ? AND scope = ? AND request_key = ?",
    )
    .bind(key.method)
    .bind(&key.scope)
    .bind(&key.key)
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        None => Seen::Never,
        Some((fingerprint, id)) if fingerprint == key.fingerprint.as_str() => Seen::Same(id),
        Some(_) => Seen::Other,
    })
}

/// Remembers which row the request made.
pub(super) async fn remember(
    connection: &mut SqliteConnection,
    key: &RequestKey,
    resource_id: &str,
    now: Micros,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO request_keys (method, scope, request_key, fingerprint, resource_id, created_us) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(key.method)
    .bind(&key.scope)
    .bind(&key.key)
    .bind(key.fingerprint.as_str())
    .bind(resource_id)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}
