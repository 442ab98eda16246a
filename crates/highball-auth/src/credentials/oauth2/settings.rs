//! What a person chooses.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use highball_core::backoff::BackoffSettings;

/// How a token is asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The token endpoint: `https`. A query is kept, and left out of errors.
    pub token_url: String,
    /// Who asks.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Secret,
    /// How id and secret are sent. Default [`ClientAuth::Basic`].
    pub client_auth: ClientAuth,
    /// `scope`: space-separated words (RFC 6749, section 3.3). Default none, which leaves it to the server.
    pub scope: Option<String>,
    /// `audience`, which is no part of RFC 6749 and which several servers want. Default none.
    pub audience: Option<String>,
    /// The CAs that the endpoint's certificate may come from, PEM. Default the system's.
    pub ca: Option<PathBuf>,
    /// Whether `http` will do for a token endpoint on this machine. Default no.
    pub http_on_loopback: bool,
    /// For one question, from the look-up of the name to the last byte. Default 10 s.
    pub timeout: Duration,
    /// How long a token is taken to be good where the server does not say (`expires_in` is only recommended). Default 5 min.
    pub lifetime: Duration,
    /// Between questions that fail. Default 1 s, times 1.6, at most 60 s, ±20 %.
    pub backoff: BackoffSettings,
}

/// How a client proves itself (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_secret_basic`: in the `authorization` header. Every server must take it.
    #[default]
    Basic,
    /// `client_secret_post`: in the form.
    Post,
}

/// A secret. `Debug` shows where it is, not what.
#[derive(Clone)]
pub enum Secret {
    /// Itself.
    Text(String),
    /// In a file of at most 16 KiB, trimmed, read for every question.
    File(PathBuf),
}

impl Settings {
    /// With the defaults.
    #[must_use]
    pub fn new(token_url: impl Into<String>, client_id: impl Into<String>, client_secret: Secret) -> Self {
        Self {
            token_url: token_url.into(),
            client_id: client_id.into(),
            client_secret,
            client_auth: ClientAuth::default(),
            scope: None,
            audience: None,
            ca: None,
            http_on_loopback: false,
            timeout: Duration::from_secs(10),
            lifetime: Duration::from_secs(300),
            backoff: BackoffSettings { max: Duration::from_secs(60), ..BackoffSettings::default() },
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
