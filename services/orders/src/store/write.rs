//! What can be written, and what each write does inside the transaction.

use std::sync::Arc;

use sqlx::SqliteConnection;
use thiserror::Error;
use uuid::Uuid;

use super::request_keys::{self, Seen};
use super::{changes, orders, users};
use crate::clock::Micros;
use crate::domain::order::{NewOrder, Order, Status};
use crate::domain::request_key::RequestKey;
use crate::domain::user::{NewUser, User, UserPatch};

/// One change of the database.
#[derive(Debug)]
pub(crate) enum Write {
    /// A new order, unless the key says that it exists.
    CreateOrder(NewOrder, Option<RequestKey>),
    /// An order's next step.
    MoveOrder(String, Status),
    /// A new user, unless the key says that it exists.
    CreateUser(NewUser, Option<RequestKey>),
    /// Changed fields of a user.
    UpdateUser(UserPatch),
}

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The order is new.
    OrderCreated(Arc<Order>),
    /// The order went one step.
    OrderMoved(Arc<Order>),
    /// The order was created by the same request before; as it stands now.
    OrderKnown(Arc<Order>),
    /// The user is new.
    UserCreated(User),
    /// The user has the changes.
    UserUpdated(User),
    /// The user was created by the same request before; as it stands now.
    UserKnown(User),
}

impl Outcome {
    /// Whether an order that was there before has changed.
    pub(super) const fn is_change(&self) -> bool {
        matches!(self, Self::OrderMoved(_))
    }
}

/// Why a write did nothing, though the database is well.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Rejection {
    /// The key was used for another request.
    #[error("idempotency-key was used for another request")]
    KeyReused,
    /// There is no such row.
    #[error("not found")]
    NotFound,
    /// The order cannot go there from where it stands.
    #[error("an order that is {from} cannot become {to}")]
    NoSuchStep {
        /// Where it stands.
        from: Status,
        /// Where it was to go.
        to: Status,
    },
    /// Another user has the address.
    #[error("the email is taken")]
    EmailTaken,
}

/// Why a write did not succeed.
pub(super) enum Failure {
    /// The rules.
    Rejected(Rejection),
    /// The database.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(cause: sqlx::Error) -> Self {
        Self::Database(cause)
    }
}

impl From<Rejection> for Failure {
    fn from(reason: Rejection) -> Self {
        Self::Rejected(reason)
    }
}

/// Carries out `write` on a connection inside a savepoint; the caller keeps or undoes it. A new row gets
/// `id`.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    write: Write,
    id: Uuid,
    now: Micros,
) -> Result<Outcome, Failure> {
    match write {
        Write::CreateOrder(new, key) => create_order(connection, id, new, key, now).await,
        Write::MoveOrder(id, to) => move_order(connection, &id, to, now).await,
        Write::CreateUser(new, key) => create_user(connection, id, new, key, now).await,
        Write::UpdateUser(patch) => update_user(connection, patch, now).await,
    }
}

async fn create_order(
    connection: &mut SqliteConnection,
    id: Uuid,
    new: NewOrder,
    key: Option<RequestKey>,
    now: Micros,
) -> Result<Outcome, Failure> {
    if let Some(known) = known(connection, key.as_ref()).await? {
        let order = orders::find(connection, &known).await?.ok_or(Rejection::NotFound)?;
        return Ok(Outcome::OrderKnown(Arc::new(order)));
    }
    let order = orders::insert(connection, id, new, now).await?;
    if let Some(key) = key {
        request_keys::remember(connection, &key, &order.id, now).await?;
    }
    Ok(Outcome::OrderCreated(Arc::new(order)))
}

async fn move_order(
    connection: &mut SqliteConnection,
    id: &str,
    to: Status,
    now: Micros,
) -> Result<Outcome, Failure> {
    let mut order = orders::find(connection, id).await?.ok_or(Rejection::NotFound)?;
    if !order.status.may_become(to) {
        return Err(Rejection::NoSuchStep { from: order.status, to }.into());
    }
    order.status = to;
    order.version += 1;
    order.updated = now;
    orders::update(connection, &order).await?;
    changes::record(connection, &order).await?;
    Ok(Outcome::OrderMoved(Arc::new(order)))
}

async fn create_user(
    connection: &mut SqliteConnection,
    id: Uuid,
    new: NewUser,
    key: Option<RequestKey>,
    now: Micros,
) -> Result<Outcome, Failure> {
    if let Some(known) = known(connection, key.as_ref()).await? {
        let user = users::find(connection, &known).await?.ok_or(Rejection::NotFound)?;
        return Ok(Outcome::UserKnown(user));
    }
    if users::email_is_taken(connection, &new.email, "").await? {
        return Err(Rejection::EmailTaken.into());
    }
    let user = users::insert(connection, id, new, now).await?;
    if let Some(key) = key {
        request_keys::remember(connection, &key, &user.id, now).await?;
    }
    Ok(Outcome::UserCreated(user))
}

async fn update_user(
    connection: &mut SqliteConnection,
    patch: UserPatch,
    now: Micros,
) -> Result<Outcome, Failure> {
    let user = users::find(connection, &patch.id).await?.ok_or(Rejection::NotFound)?;
    if let Some(email) = &patch.email
        && users::email_is_taken(connection, email, &user.id).await?
    {
        return Err(Rejection::EmailTaken.into());
    }
    let user = patch.apply(user);
    users::update(connection, &user, now).await?;
    Ok(Outcome::UserUpdated(user))
}

/// The row that the same request made before, if any.
async fn known(
    connection: &mut SqliteConnection,
    key: Option<&RequestKey>,
) -> Result<Option<String>, Failure> {
    let Some(key) = key else {
        return Ok(None);
    };
    match request_keys::look_up(connection, key).await? {
        Seen::Never => Ok(None),
        Seen::Same(id) => Ok(Some(id)),
        Seen::Other => Err(Rejection::KeyReused.into()),
    }
}
