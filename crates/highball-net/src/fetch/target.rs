//! What a URL means here.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

/// Where `http:` is good enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plaintext {
    /// Nowhere.
    #[default]
    Refuse,
    /// On this machine: `localhost` and loopback addresses.
    Loopback,
    /// Everywhere: whoever is on the way can read and replace what is fetched.
    Allow,
}

/// A URL that is not fetched from. Displays what is wrong with it, and never its query or user, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidUrl(String);

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidUrl {}

/// Checks a URL from settings, as [`Fetcher::fetch`](super::Fetcher::fetch) does.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str, plaintext: Plaintext) -> Result<Uri, InvalidUrl> {
    let uri: Uri = url.parse().map_err(|_| InvalidUrl("it is not a URL".to_owned()))?;
    Target::of(&uri, plaintext).map(|_| uri)
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) secure: bool,
    /// A name or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As it was written, for `host`.
    pub(super) authority: Authority,
    /// Without query: it goes into error texts.
    path: String,
}

impl Target {
    pub(super) fn of(uri: &Uri, plaintext: Plaintext) -> Result<Self, InvalidUrl> {
        let invalid = |problem: &str| InvalidUrl(problem.to_owned());
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("it begins with neither https:// nor http://")),
        };
        let authority = uri.authority().cloned().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it holds a user or a password; those belong into a file"));
        }
        let host = bare(authority.host()).to_owned();
        if host.is_empty() {
            return Err(invalid("it names no host"));
        }
        match plaintext {
            Plaintext::Refuse if !secure => return Err(invalid("it is not an https URL")),
            Plaintext::Loopback if !secure && !is_loopback(&host) => {
                return Err(invalid("it is not an https URL, and http is for this machine only"));
            }
            _ => {}
        }
        let port = match (authority.port(), secure) {
            (Some(port), _) => port.as_u16(),
            (None, true) => 443,
            (None, false) => 80,
        };
        Ok(Self { secure, host, port, authority, path: uri.path().to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|addr| addr.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, plaintext: Plaintext) -> Result<(bool, String, u16), String> {
        let uri: Uri = url.parse().unwrap();
        let target = Target::of(&uri, plaintext).map_err(|error| error.to_string())?;
        Ok((target.secure, target.host, target.port))
    }

    #[test]
    fn a_url_says_whom_to_dial_and_how() {
        let loopback = |url| target(url, Plaintext::Loopback).unwrap();
        assert_eq!(loopback("https://a.example/x?y=1"), (true, "a.example".to_owned(), 443));
        assert_eq!(loopback("https://[::1]:8443/x"), (true, "::1".to_owned(), 8443));
        assert_eq!(loopback("http://localhost/x"), (false, "localhost".to_owned(), 80));
        assert_eq!(loopback("http://127.9.9.9:1/"), (false, "127.9.9.9".to_owned(), 1));
        assert!(target("http://a.example/", Plaintext::Allow).is_ok());
    }

    #[test]
    fn a_url_that_is_not_safe_is_refused_without_repeating_its_secrets() {
        for (url, plaintext) in [
            ("http://localhost/", Plaintext::Refuse),
            ("http://a.example/", Plaintext::Loopback),
            ("http://localhost.a.example/", Plaintext::Loopback),
            ("https://user:hunter2@a.example/", Plaintext::Allow),
            ("ftp://a.example/", Plaintext::Allow),
            ("/only/a/path", Plaintext::Allow),
        ] {
            let problem = target(url, plaintext).unwrap_err();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert!(check_url("not a url", Plaintext::Allow).is_err());
    }
}
