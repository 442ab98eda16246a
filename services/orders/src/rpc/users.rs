//! What both versions of the user service share. Each version is a thin translation of its messages.

use buffa_types::google::protobuf::FieldMask;
use connectrpc::{ConnectError, RequestContext};
use uuid::Uuid;

use super::errors::{self, Problem};
use super::orders::bad_key;
use super::validate;
use crate::domain::filter;
use crate::domain::page::{self, List};
use crate::domain::request_key::{self, RequestKey};
use crate::domain::user::{self, NewUser, User, UserPatch};
use crate::store::{Outcome, Rejection, Store, Write, WriteError};

/// Most fields of a mask.
const MAX_PATHS: usize = 16;

/// Keeps users. `kind` in its methods is the message name of the caller's version.
#[derive(Debug, Clone)]
pub(super) struct Users {
    store: Store,
}

/// A page of users and what comes after it.
pub(super) struct Page {
    pub(super) users: Vec<User>,
    pub(super) next: String,
    pub(super) total: i32,
}

impl Users {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Creates a user. Both versions share their keys, so a retry may come from a newer client.
    pub(super) async fn create(
        &self,
        kind: &str,
        context: &RequestContext,
        new: NewUser,
    ) -> Result<User, ConnectError> {
        let key = request_key::from_headers(context.headers()).map_err(bad_key)?.map(|key| RequestKey {
            method: "user.UserService/CreateUser",
            scope: user::email_key(&new.email),
            key: key.to_owned(),
            fingerprint: new.fingerprint(),
        });
        let email = new.email.clone();
        match self.store.queue.write(Write::CreateUser(new, key)).await {
            Ok(outcome) => user_of(outcome),
            Err(WriteError::Rejected(Rejection::KeyReused)) => Err(errors::key_reused()),
            Err(WriteError::Rejected(Rejection::EmailTaken)) => Err(errors::email_taken(kind, &email)),
            Err(cause) => Err(errors::write("create user", &cause)),
        }
    }

    /// One user.
    pub(super) async fn get(&self, kind: &str, id: &str) -> Result<User, ConnectError> {
        let found = self.store.reader.user(id).await.map_err(|cause| errors::read("get user", &cause))?;
        found.ok_or_else(|| errors::not_found(kind, "user", id))
    }

    /// Changes a user.
    pub(super) async fn update(&self, kind: &str, patch: UserPatch) -> Result<User, ConnectError> {
        check(&patch)?;
        let id = patch.id.clone();
        let email = patch.email.clone().unwrap_or_default();
        match self.store.queue.write(Write::UpdateUser(patch)).await {
            Ok(outcome) => user_of(outcome),
            Err(WriteError::Rejected(Rejection::NotFound)) => Err(errors::not_found(kind, "user", &id)),
            Err(WriteError::Rejected(Rejection::EmailTaken)) => Err(errors::email_taken(kind, &email)),
            Err(cause) => Err(errors::write("update user", &cause)),
        }
    }

    /// One page of users.
    pub(super) async fn list(&self, size: i32, token: &str, filter: &str) -> Result<Page, ConnectError> {
        let refuse = |field: &str, cause: &dyn std::error::Error| {
            errors::invalid(vec![Problem::saying(field, cause.to_string())])
        };
        let failed = |cause: &dyn std::error::Error| errors::masked("list users", cause);
        let size = page::size(size);
        let comparisons = filter::parse(filter).map_err(|cause| refuse("filter", &cause))?;
        let before = match token {
            "" => None,
            token => Some(
                self.store
                    .tokens
                    .open(List::Users, filter, token)
                    .map_err(|cause| refuse("page_token", &cause))?,
            ),
        };
        let read = self.store.reader.user_page(&comparisons, before, size + 1).await;
        let mut page = read.map_err(|cause| errors::read("list users", &cause))?;
        let more = page.users.len() > size;
        page.users.truncate(size);
        let next = match page.users.last() {
            Some(last) if more => {
                let id = Uuid::try_parse(&last.id).map_err(|cause| failed(&cause))?;
                self.store.tokens.seal(List::Users, filter, id)
            }
            _ => String::new(),
        };
        Ok(Page { users: page.users, next, total: i32::try_from(page.total).unwrap_or(i32::MAX) })
    }
}

/// Which fields a mask names.
pub(super) enum Mask<'a> {
    /// No mask: the fields that are not empty.
    NotEmpty,
    /// `*`: all fields of the caller's version.
    All,
    /// These.
    Paths(&'a [String]),
}

impl<'a> Mask<'a> {
    /// Reads a mask and refuses names that are not in `known`.
    pub(super) fn read(mask: Option<&'a FieldMask>, known: &[&str]) -> Result<Self, ConnectError> {
        let paths = match mask {
            None => return Ok(Self::NotEmpty),
            Some(mask) if mask.paths.is_empty() => return Ok(Self::NotEmpty),
            Some(mask) => &mask.paths,
        };
        if paths.iter().any(|path| path == "*") {
            return if paths.len() == 1 {
                Ok(Self::All)
            } else {
                Err(errors::invalid(vec![Problem::new("update_mask", "takes * only alone")]))
            };
        }
        if paths.len() > MAX_PATHS {
            let says = format!("must name at most {MAX_PATHS} fields");
            return Err(errors::invalid(vec![Problem::new("update_mask", says)]));
        }
        let unknown: Vec<Problem> = paths
            .iter()
            .filter(|path| !known.contains(&path.as_str()))
            .map(|path| {
                Problem::new("update_mask", format!("names \"{}\", which cannot be changed", short(path)))
            })
            .collect();
        validate::refuse(unknown)?;
        Ok(Self::Paths(paths))
    }

    /// `value` when the mask names `path`.
    pub(super) fn take<T: Default + PartialEq>(&self, path: &str, value: T) -> Option<T> {
        let named = match self {
            Self::NotEmpty => value != T::default(),
            Self::All => true,
            Self::Paths(paths) => paths.iter().any(|named| named == path),
        };
        named.then_some(value)
    }
}

/// The beginning of a text from a caller: an answer travels in a header.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The rules for new values: those of CreateUser, for the fields that change.
fn check(patch: &UserPatch) -> Result<(), ConnectError> {
    let mut problems = Vec::new();
    if patch.id.is_empty() {
        problems.push(Problem::new("user.id", "is required"));
    }
    if let Some(email) = &patch.email {
        if email.is_empty() {
            problems.push(Problem::new("user.email", "is required"));
        } else if !protovalidate_buffa::rules::string::is_email(email) {
            problems.push(Problem::new("user.email", user::BAD_EMAIL));
        }
    }
    if patch.name.as_deref() == Some("") {
        problems.push(Problem::new("user.name", "is required"));
    }
    let id = Some(patch.id.clone());
    let lengths = [
        ("user.id", &id, user::MAX_ID),
        ("user.email", &patch.email, user::MAX_EMAIL),
        ("user.name", &patch.name, user::MAX_NAME),
        ("user.phone_number", &patch.phone_number, user::MAX_PHONE),
        ("user.legacy_field", &patch.legacy_field, user::MAX_LEGACY),
    ];
    for (field, value, max) in lengths {
        if value.as_ref().is_some_and(|value| value.chars().count() > max) {
            problems.push(Problem::new(field, format!("must be at most {max} characters")));
        }
    }
    validate::refuse(problems)
}

fn user_of(outcome: Outcome) -> Result<User, ConnectError> {
    match outcome {
        Outcome::UserCreated(user) | Outcome::UserUpdated(user) | Outcome::UserKnown(user) => Ok(user),
        Outcome::OrderCreated(_) | Outcome::OrderMoved(_) | Outcome::OrderKnown(_) => {
            debug_assert!(false, "a write for a user answers a user");
            Err(ConnectError::internal("failed to write user"))
        }
    }
}
