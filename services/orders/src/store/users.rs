//! Rows of users.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::orders::decode;
use crate::clock::Micros;
use crate::domain::filter::Comparison;
use crate::domain::user::{NewUser, Role, User, email_key};

type Row = (String, String, String, String, String, bool, String, i64);

const COLUMNS: &str =
    "SELECT id, email, name, role, phone_number, email_verified, legacy_field, created_us FROM users";

/// A page of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserPage {
    /// Newest first.
    pub(crate) users: Vec<User>,
    /// How many the filter selects on all pages.
    pub(crate) total: i64,
}

/// Adds a new user.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    id: Uuid,
    new: NewUser,
    now: Micros,
) -> Result<User, sqlx::Error> {
    let user = User {
        id: id.to_string(),
        email: new.email,
        name: new.name,
        role: Role::Customer,
        phone_number: new.phone_number,
        email_verified: false,
        legacy_field: String::new(),
        created: now,
    };
    sqlx::query(
        "INSERT INTO users (id, email, email_key, name, role, phone_number, email_verified, legacy_field, \
         created_us, updated_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&user.id)
    .bind(&user.email)
    .bind(email_key(&user.email))
    .bind(&user.name)
    .bind(user.role.name())
    .bind(&user.phone_number)
    .bind(user.email_verified)
    .bind(&user.legacy_field)
    .bind(now.0)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(user)
}

/// Sets every field that can change.
pub(super) async fn update(
    connection: &mut SqliteConnection,
    user: &User,
    now: Micros,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE users SET email = ?, email_key = ?, name = ?, phone_number = ?, email_verified = ?, \
         legacy_field = ?, updated_us = ? WHERE id = ?",
    )
    .bind(&user.email)
    .bind(email_key(&user.email))
    .bind(&user.name)
    .bind(&user.phone_number)
    .bind(user.email_verified)
    .bind(&user.legacy_field)
    .bind(now.0)
    .bind(&user.id)
    .execute(connection)
    .await?;
    Ok(())
}

/// One user.
pub(super) async fn find(connection: &mut SqliteConnection, id: &str) -> Result<Option<User>, sqlx::Error> {
    let mut select = QueryBuilder::<Sqlite>::new(COLUMNS);
    select.push(" WHERE id = ").push_bind(id);
    let row: Option<Row> = select.build_query_as().fetch_optional(connection).await?;
    row.map(from_row).transpose()
}

/// Whether another user than `except` has the address, letter case aside.
pub(super) async fn email_is_taken(
    connection: &mut SqliteConnection,
    email: &str,
    except: &str,
) -> Result<bool, sqlx::Error> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM users WHERE email_key = ? AND id <> ?")
        .bind(email_key(email))
        .bind(except)
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// At most `limit` users, newest first, and how many there are. Counting reads every user the filter selects.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    filter: &[Comparison],
    before: Option<Uuid>,
    limit: i64,
) -> Result<UserPage, sqlx::Error> {
    let mut count = QueryBuilder::<Sqlite>::new("SELECT COUNT(*) FROM users");
    push_filter(&mut count, filter);
    let (total,): (i64,) = count.build_query_as().fetch_one(&mut *connection).await?;

    let mut select = QueryBuilder::<Sqlite>::new(COLUMNS);
    push_filter(&mut select, filter);
    if let Some(id) = before {
        let glue = if filter.is_empty() { " WHERE " } else { " AND " };
        select.push(glue).push("id < ").push_bind(id.to_string());
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    let rows: Vec<Row> = select.build_query_as().fetch_all(connection).await?;
    let users = rows.into_iter().map(from_row).collect::<Result<_, _>>()?;
    Ok(UserPage { users, total })
}

/// A beginning is compared as a substring, not with LIKE: there, `%` and letter case would mean something.
fn push_filter(select: &mut QueryBuilder<Sqlite>, filter: &[Comparison]) {
    let mut glue = " WHERE ";
    for comparison in filter {
        select.push(glue);
        glue = " AND ";
        match comparison {
            Comparison::EmailIs(text) => select.push("email_key = ").push_bind(text.clone()),
            Comparison::NameIs(text) => select.push("name = ").push_bind(text.clone()),
            Comparison::EmailStarts(text) => push_beginning(select, "email_key", text),
            Comparison::NameStarts(text) => push_beginning(select, "name", text),
            Comparison::RoleIs(role) => select.push("role = ").push_bind(role.name()),
        };
    }
}

fn push_beginning<'a>(
    select: &'a mut QueryBuilder<Sqlite>,
    column: &'static str,
    text: &str,
) -> &'a mut QueryBuilder<Sqlite> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    select
        .push("substr(")
        .push(column)
        .push(", 1, ")
        .push_bind(length)
        .push(") = ")
        .push_bind(text.to_owned())
}

fn from_row(row: Row) -> Result<User, sqlx::Error> {
    let (id, email, name, role, phone_number, email_verified, legacy_field, created) = row;
    Ok(User {
        id,
        email,
        name,
        role: decode(&role)?,
        phone_number,
        email_verified,
        legacy_field,
        created: Micros(created),
    })
}
