//! How bearer tokens are verified, as an operator writes it.

use std::path::PathBuf;
use std::time::Duration;

use highball_net::fetch::{Plaintext, check_url};
use serde::Deserialize;

use crate::duration;
use crate::settings::Problems;

/// How bearer tokens are verified.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the keys come from. No default: without keys there is nothing to verify with.
    pub keys: Option<KeySource>,
    /// The one accepted `iss`. Default none: any issuer that the keys vouch for.
    pub issuer: Option<String>,
    /// A token is for us when its `aud` holds one of these. Default none, and then a token that names any audience is
    /// refused: it is for somebody else (RFC 7519, section 4.1.3).
    pub audiences: Vec<String>,
    /// How far the issuer's clock may be off, for `exp` and `nbf`. Default 60 s, at most 10 min: more only lengthens the
    /// life of stolen tokens.
    #[serde(deserialize_with = "duration::deserialize")]
    pub leeway: Duration,
    /// Longest token, in bytes. Default 8192, the header list a gRPC peer accepts by default; a longer one is refused
    /// before it is hashed.
    pub token_size_bytes_max: usize,
    /// The claim that holds the caller's roles: a list of texts, or one text with spaces between, so that `scope` works.
    /// A name at the top of the claims, else a path with dots such as `realm_access.roles`. Default `roles`.
    pub roles_claim: String,
    /// How many verified tokens are remembered. Default 10,000, about 3 MB; 0 remembers none. At the bound the ones that
    /// were not used lately go first.
    pub remembered_tokens_max: usize,
    /// How a JWKS is followed; without effect on other keys.
    pub jwks: JwksSettings,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeySource {
    /// One public key in PEM: RS256, ES256 or EdDSA by its kind. Read once, at the start.
    PemFile {
        /// The file.
        path: PathBuf,
        /// The `kid` of its tokens. Default none: any.
        kid: Option<String>,
    },
    /// A shared secret for HS256: the bytes of the file without one final line end, 32 at least (RFC 7518, section 3.2).
    /// Read once, at the start.
    SecretFile {
        /// The file.
        path: PathBuf,
        /// The `kid` of its tokens. Default none: any.
        kid: Option<String>,
    },
    /// A JWKS in a file, which is read again at each refresh.
    JwksFile {
        /// The file.
        path: PathBuf,
    },
    /// A JWKS at a URL.
    JwksUrl(JwksUrl),
}

/// A JWKS at a URL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwksUrl {
    /// The address: `https`, or `http` on this machine. Redirects are not followed: name where the keys are.
    pub url: String,
    /// The CAs that its certificate may come from (PEM), read again before each refresh. Default none: those that the system
    /// trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Takes keys over plain `http` from elsewhere. Default false: whoever is on the way could replace them, and sign tokens
    /// of their own. For networks that encrypt by themselves, such as a service mesh.
    #[serde(default)]
    pub danger_http: bool,
}

impl JwksUrl {
    /// With the system's CAs.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ca: None, danger_http: false }
    }

    /// Where `http` is good enough.
    pub(crate) fn plaintext(&self) -> Plaintext {
        if self.danger_http { Plaintext::Allow } else { Plaintext::Loopback }
    }
}

/// How a JWKS is followed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JwksSettings {
    /// How often the document is read again, ±10 %. Default 10 min; a removed key is honoured for that long. A new key is
    /// found at once, by the first token that names it; where keys have no `kid`, it is found by this interval only.
    #[serde(deserialize_with = "duration::deserialize")]
    pub refresh_interval: Duration,
    /// The least time between two reads, also when unknown `kid`s ask for one and after a failure. Default 30 s, so that
    /// forged tokens cannot make us flood the issuer.
    #[serde(deserialize_with = "duration::deserialize")]
    pub refresh_interval_min: Duration,
    /// How long the last document is honoured while it cannot be read again. Default 1 h: an outage of the issuer that is
    /// shorter goes unnoticed, and a revoked key lives no longer. Then no token is accepted.
    #[serde(deserialize_with = "duration::deserialize")]
    pub stale_max: Duration,
    /// How long one read may take. Default 5 s.
    #[serde(deserialize_with = "duration::deserialize")]
    pub fetch_timeout: Duration,
    /// Largest document, in bytes. Default 256 KiB; a larger one counts as unreadable.
    pub document_size_bytes_max: usize,
    /// Most keys in a document. Default 64; a longer one counts as unreadable, because leaving some out in silence would
    /// break some callers and not others.
    pub keys_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keys: None,
            issuer: None,
            audiences: Vec::new(),
            leeway: Duration::from_secs(60),
            token_size_bytes_max: 8 << 10,
            roles_claim: "roles".to_owned(),
            remembered_tokens_max: 10_000,
            jwks: JwksSettings::default(),
        }
    }
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            refresh_interval: Duration::from_secs(600),
            refresh_interval_min: Duration::from_secs(30),
            stale_max: Duration::from_secs(3_600),
            fetch_timeout: Duration::from_secs(5),
            document_size_bytes_max: 256 << 10,
            keys_max: 64,
        }
    }
}

/// More leeway is a longer life for stolen tokens.
const LEEWAY_MAX: Duration = Duration::from_secs(600);

impl Settings {
    pub(crate) fn find_problems(&self, problems: &mut Problems) {
        match &self.keys {
            None => problems.add("token.keys is missing; say where the keys are, such as { type = \"jwks_file\", path = \"jwks.json\" }"),
            Some(KeySource::JwksUrl(from)) => {
                if let Err(error) = check_url(&from.url, from.plaintext()) {
                    problems.add(format!(
                        "token.keys.url cannot be used: {error}; keys that anybody on the way can replace prove nothing"
                    ));
                }
            }
            Some(_) => {}
        }
        let leeway = self.leeway;
        problems.require(leeway <= LEEWAY_MAX, || {
            format!("token.leeway {leeway:?} is more than 10 min; lower it")
        });
        problems.require(self.token_size_bytes_max > 0, || {
            "token.token_size_bytes_max is 0, so every token would be refused; set it to 8192".to_owned()
        });
        problems.require(!self.roles_claim.is_empty(), || {
            "token.roles_claim is empty; name the claim that holds the roles, such as \"roles\"".to_owned()
        });
        problems.require(self.audiences.iter().all(|audience| !audience.is_empty()), || {
            "token.audiences holds an empty name; remove it".to_owned()
        });
        self.jwks.find_problems(problems);
    }
}

impl JwksSettings {
    fn find_problems(&self, problems: &mut Problems) {
        for (name, value) in [
            ("refresh_interval", self.refresh_interval),
            ("refresh_interval_min", self.refresh_interval_min),
            ("fetch_timeout", self.fetch_timeout),
        ] {
            problems.require(value >= Duration::from_secs(1), || {
                format!("token.jwks.{name} {value:?} is less than 1 s; raise it")
            });
        }
        let (stale, often) = (self.stale_max, self.refresh_interval);
        problems.require(stale >= often.saturating_mul(2), || {
            format!("token.jwks.stale_max {stale:?} leaves no room for one failed refresh every {often:?}; raise it to twice that")
        });
        problems.require(self.document_size_bytes_max > 0, || {
            "token.jwks.document_size_bytes_max is 0; set it to 262144".to_owned()
        });
        problems.require(self.keys_max > 0, || "token.jwks.keys_max is 0; set it to 64".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        let settings: Settings = toml::from_str(text).unwrap();
        let mut problems = Problems::default();
        settings.find_problems(&mut problems);
        problems.into_result().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let text = problems(
            "leeway = \"1h\"\ntoken_size_bytes_max = 0\nroles_claim = \"\"\naudiences = [\"\"]\n\
             jwks = { refresh_interval = \"0s\", stale_max = \"10ms\", keys_max = 0, document_size_bytes_max = 0 }",
        );
        for name in [
            "token.keys",
            "leeway",
            "token_size",
            "roles_claim",
            "audiences",
            "refresh_interval",
            "document_size",
            "keys_max",
        ] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
        assert!(problems("jwks = { stale_max = \"10m\" }").contains("stale_max"));
    }

    #[test]
    fn keys_are_not_taken_over_plain_http_from_elsewhere() {
        for (url, safe) in [
            ("https://login.example/jwks.json", true),
            ("http://localhost:8080/jwks.json", true),
            ("http://127.0.0.1/jwks.json", true),
            ("http://login.example/jwks.json", false),
            ("file:///jwks.json", false),
            ("login.example", false),
            ("", false),
        ] {
            let text = problems(&format!("keys = {{ type = \"jwks_url\", url = {url:?} }}"));
            assert_eq!(text.is_empty(), safe, "{url}: {text}");
        }
        let text =
            problems(r#"keys = { type = "jwks_url", url = "http://login.example/", danger_http = true }"#);
        assert_eq!(text, "");
    }

    #[test]
    fn a_misspelled_key_is_refused() {
        for text in [
            "issuers = \"a\"",
            "keys = { type = \"pem\", path = \"a\" }",
            "keys = { type = \"jwks_file\", path = \"a\", kid = \"b\" }",
            "keys = { type = \"jwks_url\", url = \"https://a\", cas = \"b\" }",
            "leeway = 60",
        ] {
            assert!(toml::from_str::<Settings>(text).is_err(), "{text}");
        }
    }
}
