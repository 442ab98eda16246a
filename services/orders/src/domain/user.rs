//! Users, as both versions of the service see them.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::order::UnknownName;
use super::request_key::Fingerprint;
use crate::clock::Micros;

/// Longest identifier a caller may ask for, in characters; ours have 36.
pub(crate) const MAX_ID: usize = 128;
/// Longest e-mail address, in characters.
pub(crate) const MAX_EMAIL: usize = 254;
/// Longest name, in characters.
pub(crate) const MAX_NAME: usize = 256;
/// Longest telephone number, in characters.
pub(crate) const MAX_PHONE: usize = 32;
/// Longest `legacy_field`, in characters.
pub(crate) const MAX_LEGACY: usize = 256;

/// What is said of a text that is no address.
pub(crate) const BAD_EMAIL: &str = "must be an e-mail address";

/// A user as it stands: every field of every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// UUID of version 7.
    pub(crate) id: String,
    /// Address as the user wrote it.
    pub(crate) email: String,
    /// Name for people.
    pub(crate) name: String,
    /// What the user may do.
    pub(crate) role: Role,
    /// Telephone number; version 2.
    pub(crate) phone_number: String,
    /// Whether the address was shown to be theirs; version 2.
    pub(crate) email_verified: bool,
    /// No longer used; version 2.
    pub(crate) legacy_field: String,
    /// When the user was created.
    pub(crate) created: Micros,
}

/// The users of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Buys.
    Customer,
    /// Runs the shop.
    Admin,
}

impl Role {
    /// The name in the database and in filters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Customer => "CUSTOMER",
            Self::Admin => "ADMIN",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Customer, Self::Admin].into_iter().find(|role| role.name() == name).ok_or(UnknownName)
    }
}

/// A request for a user that keeps all the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewUser {
    /// Address.
    pub(crate) email: String,
    /// Name.
    pub(crate) name: String,
    /// Telephone number; empty from version 1.
    pub(crate) phone_number: String,
}

impl NewUser {
    /// What makes two requests the same.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for value in [&self.email, &self.name, &self.phone_number] {
            hash.update(value.len().to_be_bytes());
            hash.update(value.as_bytes());
        }
        Fingerprint::new(hash.finalize().into())
    }
}

/// What to change of a user; `None` leaves a field alone. Fields of a version the caller does not speak are
/// `None`, so an old client never wipes what it cannot see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserPatch {
    /// Which user.
    pub(crate) id: String,
    /// New address.
    pub(crate) email: Option<String>,
    /// New name.
    pub(crate) name: Option<String>,
    /// New telephone number.
    pub(crate) phone_number: Option<String>,
    /// New mark.
    pub(crate) email_verified: Option<bool>,
    /// New value.
    pub(crate) legacy_field: Option<String>,
}

impl UserPatch {
    /// `user` with the changes. Another address is not verified because the last one was, whoever changes it: a caller of
    /// an older version cannot even see the mark.
    pub(crate) fn apply(self, user: User) -> User {
        let same = self.email.as_deref().is_none_or(|email| email_key(email) == email_key(&user.email));
        User {
            email_verified: self.email_verified.unwrap_or(user.email_verified && same),
            email: self.email.unwrap_or(user.email),
            name: self.name.unwrap_or(user.name),
            phone_number: self.phone_number.unwrap_or(user.phone_number),
            legacy_field: self.legacy_field.unwrap_or(user.legacy_field),
            ..user
        }
    }
}

/// The address by which two users are the same: letter case aside.
pub(crate) fn email_key(email: &str) -> String {
    email.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_is_not_verified_because_the_last_one_was() {
        let user = || User {
            id: String::new(),
            email: "ann@x.y".to_owned(),
            name: String::new(),
            role: Role::Customer,
            phone_number: String::new(),
            email_verified: true,
            legacy_field: String::new(),
            created: Micros(0),
        };
        let to = |email: &str| UserPatch { email: Some(email.to_owned()), ..UserPatch::default() };
        assert!(!to("eve@x.y").apply(user()).email_verified);
        assert!(to("Ann@x.y").apply(user()).email_verified, "the same address in other letters");
        let both = UserPatch { email_verified: Some(true), ..to("eve@x.y") };
        assert!(both.apply(user()).email_verified, "it was said so");
        assert!(UserPatch::default().apply(user()).email_verified);
    }
}
