//! What a token says, once its signature holds (RFC 7519, section 4.1).

use std::time::Duration;

use highball_core::caller::Token;
use serde_json::{Map, Value};

use super::Settings;
use crate::Reason;

/// What is asked of the claims.
#[derive(Debug)]
pub(crate) struct Checks {
    issuer: Option<String>,
    audiences: Vec<String>,
    leeway: Duration,
    roles_claim: String,
}

/// Claims that hold.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) token: Token,
    /// `exp`, since 1970, without leeway.
    pub(crate) expires: Duration,
}

impl Checks {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            audiences: settings.audiences.clone(),
            leeway: settings.leeway,
            roles_claim: settings.roles_claim.clone(),
        }
    }

    /// Checks a payload at `now`, the time since 1970.
    ///
    /// # Errors
    /// The first reason that applies: a malformed claim, time, issuer, audience.
    pub(crate) fn check(&self, payload: &[u8], now: Duration) -> Result<Verified, Reason> {
        let claims: Map<String, Value> = serde_json::from_slice(payload).map_err(|_| Reason::Malformed)?;
        let expires = date(&claims, "exp")?.ok_or(Reason::Malformed)?;
        // RFC 7519, section 4.1.4: on that second it is over, not after it.
        if now >= expires.saturating_add(self.leeway) {
            return Err(Reason::Expired);
        }
        if date(&claims, "nbf")?.is_some_and(|from| now.saturating_add(self.leeway) < from) {
            return Err(Reason::NotYetValid);
        }
        let issuer = text(&claims, "iss")?;
        if self.issuer.is_some() && issuer != self.issuer.as_deref() {
            return Err(Reason::WrongIssuer);
        }
        self.check_audience(&claims)?;
        // A caller without a name could not be held to account, and would share its budget with all others of the kind.
        let subject = text(&claims, "sub")?.filter(|subject| !subject.is_empty()).ok_or(Reason::Malformed)?;
        let token = Token {
            issuer: issuer.map(str::to_owned),
            subject: subject.to_owned(),
            roles: roles(&claims, &self.roles_claim),
        };
        Ok(Verified { token, expires })
    }

    /// RFC 7519, section 4.1.3: one text or a list; a token that names audiences must name us.
    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Reason> {
        let ours = |name: &str| self.audiences.iter().any(|audience| audience == name);
        let accepted = match claims.get("aud") {
            None => self.audiences.is_empty(),
            Some(Value::String(name)) => ours(name),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(ours),
            Some(_) => return Err(Reason::Malformed),
        };
        if accepted { Ok(()) } else { Err(Reason::WrongAudience) }
    }
}

/// A NumericDate: seconds since 1970, whole or not.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(Reason::Malformed)?;
    // Before 1970 is long ago either way; what no clock can reach is never.
    Ok(Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Reason> {
    claims.get(name).map(|value| value.as_str().ok_or(Reason::Malformed)).transpose()
}

/// The roles at `path`. Anything but texts there grants nothing.
fn roles(claims: &Map<String, Value>, path: &str) -> Vec<String> {
    match at(claims, path) {
        Some(Value::String(words)) => words.split_ascii_whitespace().map(str::to_owned).collect(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A name at the top comes first: names that are URLs have dots.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut names = path.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_700_000_000;

    fn checks() -> Checks {
        Checks::new(&Settings {
            issuer: Some("https://login.example".into()),
            audiences: vec!["shop".into(), "store".into()],
            ..Settings::default()
        })
    }

    #[track_caller]
    fn check(changes: &Value, expected: Result<(), Reason>) {
        let mut claims =
            json!({ "sub": "ann", "iss": "https://login.example", "aud": "shop", "exp": NOW + 10 });
        for (name, value) in changes.as_object().unwrap() {
            // Null stands for a claim that is not there.
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let outcome = checks().check(claims.to_string().as_bytes(), Duration::from_secs(NOW));
        assert_eq!(outcome.map(|_| ()), expected, "{claims}");
    }

    #[test]
    fn expiry_is_needed_and_ends_on_its_second_plus_leeway() {
        check(&json!({}), Ok(()));
        check(&json!({ "exp": NOW - 59 }), Ok(()));
        check(&json!({ "exp": NOW - 60 }), Err(Reason::Expired));
        check(&json!({ "exp": NOW as f64 - 59.5 }), Ok(()));
        check(&json!({ "exp": -1 }), Err(Reason::Expired));
        check(&json!({ "exp": 1e300 }), Ok(()));
        check(&json!({ "exp": null }), Err(Reason::Malformed));
        check(&json!({ "exp": "soon" }), Err(Reason::Malformed));
    }

    #[test]
    fn a_token_of_the_future_waits_for_its_second_less_leeway() {
        check(&json!({ "nbf": NOW + 60 }), Ok(()));
        check(&json!({ "nbf": NOW + 61 }), Err(Reason::NotYetValid));
        check(&json!({ "nbf": "now" }), Err(Reason::Malformed));
    }

    #[test]
    fn issuer_and_audience_are_ours() {
        check(&json!({ "iss": "https://login.example/" }), Err(Reason::WrongIssuer));
        check(&json!({ "iss": null }), Err(Reason::WrongIssuer));
        check(&json!({ "iss": ["https://login.example"] }), Err(Reason::Malformed));
        check(&json!({ "aud": ["other", "store"] }), Ok(()));
        check(&json!({ "aud": ["other", 7] }), Err(Reason::WrongAudience));
        check(&json!({ "aud": "other" }), Err(Reason::WrongAudience));
        check(&json!({ "aud": [] }), Err(Reason::WrongAudience));
        check(&json!({ "aud": null }), Err(Reason::WrongAudience));
        check(&json!({ "aud": 7 }), Err(Reason::Malformed));
        check(&json!({ "sub": null }), Err(Reason::Malformed));
        check(&json!({ "sub": "" }), Err(Reason::Malformed));
    }

    #[test]
    fn without_audiences_of_our_own_a_token_for_somebody_is_not_for_us() {
        let checks = Checks::new(&Settings::default());
        let now = Duration::from_secs(NOW);
        let check = |claims: Value| checks.check(claims.to_string().as_bytes(), now).map(|_| ());
        assert_eq!(check(json!({ "sub": "ann", "exp": NOW + 10 })), Ok(()));
        assert_eq!(
            check(json!({ "sub": "ann", "exp": NOW + 10, "aud": "other" })),
            Err(Reason::WrongAudience)
        );
    }

    #[test]
    fn roles_are_found_in_lists_in_words_and_below() {
        let claims = json!({
            "roles": ["reader", "writer", 7],
            "scope": "orders:read orders:write",
            "realm_access": { "roles": ["admin"] },
            "https://shop.example/roles": ["owner"],
            "groups": { "a": 1 },
        });
        for (path, expected) in [
            ("roles", &["reader", "writer"][..]),
            ("scope", &["orders:read", "orders:write"]),
            ("realm_access.roles", &["admin"]),
            ("https://shop.example/roles", &["owner"]),
            ("groups", &[]),
            ("roles.0", &[]),
            ("missing.roles", &[]),
        ] {
            assert_eq!(roles(claims.as_object().unwrap(), path), expected, "{path}");
        }
    }
}
