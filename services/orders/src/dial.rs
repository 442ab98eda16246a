//! The flags by which a program reaches a server, shared by those that call this service.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use highball::auth::credentials::{
    Credentials, CredentialsError, DangerOverPlaintext, StaticToken, TokenFile,
};
use highball::channel::Target;
use highball::channel::target::HostPort;
use highball::net::Os;
use highball::net::tls::client::{ClientTls, Settings};

/// Transport security and who calls, as a person at a terminal writes them.
#[derive(Debug, Clone, Args)]
pub struct DialFlags {
    /// Use TLS, with the CAs of this system. Every other TLS flag implies it.
    #[arg(long, global = true, help_heading = "Connection")]
    tls: bool,
    /// CAs that the server's certificate must come from (PEM), instead of the system's.
    #[arg(long, global = true, help_heading = "Connection", value_name = "FILE", alias = "tls-ca-cert")]
    tls_ca: Option<PathBuf>,
    /// Certificate to show to the server (PEM).
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "FILE",
        alias = "tls-client-cert",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// Key of that certificate (PEM).
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "FILE",
        alias = "tls-client-key",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// Name that the server's certificate must be for, instead of the one that is dialled.
    #[arg(long, global = true, help_heading = "Connection", value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Bearer token to present. Other users of this machine can see it in the list of processes: rather use --token-file.
    #[arg(long, global = true, help_heading = "Connection", value_name = "TOKEN", value_parser = StaticToken::new, conflicts_with = "token_file")]
    token: Option<StaticToken>,
    /// File that holds a bearer token to present, and is read again when it changes. Tokens travel over TLS, or stay on this
    /// machine.
    #[arg(long, global = true, help_heading = "Connection", value_name = "FILE")]
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

    /// The token, as credentials for a channel to `target`.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read, or when the token would leave this machine without TLS.
    pub fn credentials(&self, target: &str) -> Result<Option<Arc<dyn Credentials>>, String> {
        let sentence = |error: CredentialsError| error.to_string();
        let credentials: Arc<dyn Credentials> = match (&self.token, &self.token_file) {
            (Some(token), _) => Arc::new(token.clone()),
            (None, Some(file)) => Arc::new(TokenFile::open(file, Os::shared()).map_err(sentence)?),
            (None, None) => return Ok(None),
        };
        if self.wants_tls() {
            return Ok(Some(credentials));
        }
        if !stays_here(target) {
            return Err(format!(
                "a token without TLS may only go to this machine, and {target} may be another; add --tls or --tls-ca"
            ));
        }
        Ok(Some(Arc::new(DangerOverPlaintext::new(credentials))))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_sockets_stay_on_this_machine() {
        for here in [
            "localhost:1",
            "127.0.0.1:1",
            "[::1]:1",
            "unix:/run/a",
            "static:///127.0.0.1:1,localhost:2",
            "ipv4:127.1.1.1:1",
        ] {
            assert!(stays_here(here), "{here}");
        }
        for there in [
            "a.example:1",
            "10.0.0.1:1",
            "static:///127.0.0.1:1,10.0.0.1:1",
            "ipv4:127.0.0.1:1,10.0.0.1:1",
            ":",
        ] {
            assert!(!stays_here(there), "{there}");
        }
    }
}
