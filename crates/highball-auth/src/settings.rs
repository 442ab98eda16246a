//! What an operator writes, and all that is wrong with it.

use std::fmt;

use serde::Deserialize;

use crate::{policy, token};

/// Who calls and may they, as one table of a settings file.
///
/// ```
/// let settings: highball_auth::Settings = toml::from_str(r#"
///     [token]
///     keys = { type = "jwks_file", path = "/etc/shop/jwks.json" }
///     issuer = "https://login.example"
///     audiences = ["shop"]
///
///     [[policy.allow]]
///     name = "read"
///     methods = ["shop.v1.Orders/*"]
///     callers = { roles = ["reader"] }
/// "#).unwrap();
/// assert!(settings.check().is_ok());
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How bearer tokens are verified. Default none: callers are known by certificate or Unix user only, and a token is
    /// not looked at.
    pub token: Option<token::Settings>,
    /// Who may call what. Default: nobody anything but health.
    pub policy: policy::Settings,
}

impl Settings {
    /// Finds what cannot work, all of it at once, without opening a file.
    ///
    /// # Errors
    /// [`SettingsError`] with a sentence per problem.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut problems = Problems::default();
        if let Some(token) = &self.token {
            token.find_problems(&mut problems);
        }
        if let Err(SettingsError(found)) = policy::Policy::try_from(&self.policy) {
            problems.0.extend(found);
        }
        problems.into_result()
    }
}

/// Settings that cannot work. Displays every problem; each names the setting and the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(Vec<String>);

impl SettingsError {
    /// One sentence per problem.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid settings: {}", self.0.join("; "))
    }
}

impl std::error::Error for SettingsError {}

/// Collects problems, so that the operator hears all of them in one go.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn add(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    pub(crate) fn require(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.0.push(otherwise());
        }
    }

    pub(crate) fn into_result(self) -> Result<(), SettingsError> {
        if self.0.is_empty() { Ok(()) } else { Err(SettingsError(self.0)) }
    }
}
