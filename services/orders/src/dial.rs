//! The flags by which a program reaches a server, shared by those that call this service.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures_util::future::{self, BoxFuture};
use highball::auth::credentials::{Credentials, CredentialsError, Headers};
use highball::channel::Target;
use highball::channel::target::HostPort;
use highball::net::Os;
use highball::net::tls::client::{ClientTls, Settings};
use http::HeaderValue;
use http::header::AUTHORIZATION;

/// Transport security and who calls, as a person at a terminal writes them.
#[derive(Debug, Clone, Args)]
pub struct DialFlags {
    /// Use TLS, with the CAs of this system. Every other TLS flag implies it.
    #[arg(long)]
    tls: bool,
    /// CAs that the server's certificate must come from (PEM), instead of the system's.
    #[arg(long, value_name = "FILE", alias = "tls-ca-cert")]
    tls_ca: Option<PathBuf>,
    /// Certificate to show to the server (PEM).
    #[arg(long, value_name = "FILE", alias = "tls-client-cert", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of that certificate (PEM).
    #[arg(long, value_name = "FILE", alias = "tls-client-key", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Name that the server's certificate must be for, instead of the one that is dialled.
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Bearer token to present. Other users of this machine can see it in the list of processes: rather use --token-file.
    #[arg(long, value_name = "TOKEN", value_parser = bearer, conflicts_with = "token_file")]
    token: Option<HeaderValue>,
    /// File that holds a bearer token to present. Tokens travel over TLS, or stay on this machine.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl DialFlags {
    /// Whether the flags ask for TLS.
    #[must_use]
    pub fn wants_tls(&self) -> bool {
        self.tls || self.tls_ca.is_some() || self.tls_cert.is_some() || self.tls_server_name.is_some()
    }

    /// TLS as the flags say; `None` for plaintext.
    ///
    /// # Errors
    /// A sentence that names the file and what is wrong with it.
    pub fn tls(&self) -> Result<Option<Arc<ClientTls>>, String> {
        if !self.wants_tls() {
            return Ok(None);
        }
        let mut settings = Settings::new();
        if let Some(file) = &self.tls_ca {
            settings = settings.with_roots(file);
        }
        if let Some((cert, key)) = self.tls_cert.as_ref().zip(self.tls_key.as_ref()) {
            settings = settings.with_identity(cert, key);
        }
        if let Some(name) = &self.tls_server_name {
            settings = settings.with_server_name(name);
        }
        let tls = ClientTls::load(settings, Os::shared()).map_err(|cause| cause.to_string())?;
        Ok(Some(Arc::new(tls)))
    }

    /// The token, as credentials for a channel to `target`. The file is read once.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read, or when the token would leave this machine without TLS.
    pub fn credentials(&self, target: &str) -> Result<Option<Arc<dyn Credentials>>, String> {
        let header = match (&self.token, &self.token_file) {
            (Some(header), _) => header.clone(),
            (None, Some(file)) => {
                let text = fs::read_to_string(file)
                    .map_err(|cause| format!("cannot read the token in {}: {cause}", file.display()))?;
                bearer(text.trim()).map_err(|problem| format!("{}: {problem}", file.display()))?
            }
            (None, None) => return Ok(None),
        };
        if !self.wants_tls() && !stays_here(target) {
            return Err(format!(
                "a token without TLS may only go to this machine, and {target} may be another; add --tls or --tls-ca"
            ));
        }
        Ok(Some(Arc::new(Bearer(header))))
    }
}

/// The header of a token.
fn bearer(token: &str) -> Result<HeaderValue, String> {
    // RFC 6750, section 2.1, less what any token has.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is visible ASCII characters without a space".to_owned());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "the token does not fit into a header".to_owned())?;
    // Kept out of logs and of HPACK's table.
    header.set_sensitive(true);
    Ok(header)
}

/// Whether nothing sent to `target` can leave this machine. Names of others are not looked up: whoever answers may lie.
fn stays_here(target: &str) -> bool {
    let local = |host: &HostPort| {
        host.host().eq_ignore_ascii_case("localhost")
            || host.literal().is_some_and(|address| address.ip().is_loopback())
    };
    match Target::parse(target) {
        Ok(Target::Unix(_) | Target::UnixAbstract(_)) => true,
        Ok(Target::Dns { host, .. }) => local(&host),
        Ok(Target::Static(hosts)) => hosts.iter().all(local),
        Ok(Target::Addresses(addresses)) => addresses.iter().all(|address| address.ip().is_loopback()),
        _ => false,
    }
}

/// One token for every call.
#[derive(Debug)]
struct Bearer(HeaderValue);

impl Credentials for Bearer {
    fn headers<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Headers, CredentialsError>> {
        Box::pin(future::ready(Ok(vec![(AUTHORIZATION, self.0.clone())])))
    }

    fn allows_plaintext(&self) -> bool {
        // Where it may not, the flags were refused.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_sockets_stay_on_this_machine() {
        for here in
            ["localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/run/a", "static:///127.0.0.1:1,localhost:2", "ipv4:127.1.1.1:1"]
        {
            assert!(stays_here(here), "{here}");
        }
        for there in ["a.example:1", "10.0.0.1:1", "static:///127.0.0.1:1,10.0.0.1:1", "ipv4:127.0.0.1:1,10.0.0.1:1", ":"] {
            assert!(!stays_here(there), "{there}");
        }
    }

    #[test]
    fn a_token_is_hidden_from_whoever_prints_the_flags() {
        let header = bearer("eyJ.secret").unwrap();
        assert!(!format!("{header:?}").contains("secret"));
        assert!(bearer("two words").is_err() && bearer("").is_err());
    }
}
