//! The flags that close the boxes of the launch checklist, shared by the programs that start this service.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use highball::auth;
use highball::net::tls::{self, ClientAuth};
use highball::server::{self, Rates};
use highball::{ListenAddr, Settings};

/// Transport security, callers and rates, as a person at a terminal writes them.
#[derive(Debug, Clone, Args)]
pub struct SecurityFlags {
    /// Certificate chain of the server (PEM). With it TCP addresses speak TLS; Unix sockets stay as they are. The files are
    /// read again when they change, and at SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// CAs that client certificates must come from (PEM). With it callers need a certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Who may call what: a TOML file of [token] and [[policy.allow]]. Keys of tokens come from files or from an https:// URL.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// RPCs a caller may make each second, and at once: 100 or 100:500. The burst is twice the rate unless given.
    #[arg(long, value_name = "N[:BURST]", value_parser = parse_rate)]
    rate: Option<Rates>,
    /// Answer health checks, and nothing else, in plaintext on this address.
    #[arg(long, value_name = "ADDR")]
    health: Option<ListenAddr>,
    /// `production` refuses to start with an open box of the launch checklist.
    #[arg(long, value_enum, default_value = "development")]
    profile: Profile,
    /// Start in production although this box is open. May be given several times.
    #[arg(long, value_name = "BOX")]
    allow_open: Vec<String>,
}

/// How strict a start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// List open boxes and start.
    Development,
    /// Refuse to start with an open box.
    Production,
}

/// What the flags say, with the files among them read.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// TLS of the TCP addresses.
    pub tls: Option<tls::Settings>,
    /// Who may call what; `None` for anyone anything.
    pub auth: Option<auth::Settings>,
    /// The plaintext address for probes.
    pub health: Option<ListenAddr>,
}

impl SecurityFlags {
    /// Whether open boxes stop the start; reflection is then off unless asked for.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.profile == Profile::Production
    }

    /// Reads the rules, and puts rates and profile into `settings`.
    ///
    /// # Errors
    /// A sentence that names the file, and the line where there is one.
    pub fn read(self, settings: &mut Settings) -> Result<Security, String> {
        settings.rates = self.rate;
        settings.open_boxes_allowed = self.allow_open;
        settings.profile = match self.profile {
            Profile::Development => server::Profile::Development,
            Profile::Production => server::Profile::Production,
        };
        let tls = self.tls_cert.zip(self.tls_key).map(|(cert, key)| {
            let tls = tls::Settings::new(cert, key);
            match self.client_ca {
                Some(ca) => tls.with_client_ca(ca, ClientAuth::Required),
                None => tls,
            }
        });
        let auth = self.rules.map(|file| {
            let text = fs::read_to_string(&file)
                .map_err(|cause| format!("cannot read the rules in {}: {cause}", file.display()))?;
            toml::from_str(&text)
                .map_err(|cause| format!("the rules in {} are wrong: {cause}", file.display()))
        });
        Ok(Security { tls, auth: auth.transpose()?, health: self.health })
    }
}

fn parse_rate(text: &str) -> Result<Rates, String> {
    let wrong = || format!("{text:?} is not a rate: write 100 or 100:500");
    let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
    let per_second: u32 = rate.parse().map_err(|_| wrong())?;
    let burst = burst.map_or(Ok(per_second.saturating_mul(2)), |burst| burst.parse().map_err(|_| wrong()))?;
    if per_second == 0 || burst == 0 {
        return Err(wrong());
    }
    Ok(Rates::new(f64::from(per_second), burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_burst_of_twice_itself_unless_it_says_otherwise() {
        assert_eq!(parse_rate("100"), Ok(Rates::new(100.0, 200)));
        assert_eq!(parse_rate("100:7"), Ok(Rates::new(100.0, 7)));
        for text in ["", "0", "1:0", "1:", "-1", "1.5", "x"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
