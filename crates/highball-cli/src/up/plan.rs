//! The edge of `highball up`, from its file and the flags.

use std::path::{Path, PathBuf};

use highball::net::tls;
use highball::{ListenAddr, Settings};
use highball_edge::settings::read::read;
use highball_edge::settings::{Listener, Pair, Tls};
use orders::{Security, SecurityFlags};

/// What does not depend on this machine.
const FILE: &str = include_str!("edge.toml");

/// What is told on the command line.
pub(super) struct Wishes {
    pub(super) listen: Vec<ListenAddr>,
    pub(super) admin: ListenAddr,
    pub(super) security: SecurityFlags,
    /// Where the replicas are listed.
    pub(super) endpoints: PathBuf,
}

/// Settings for the edge, and who may call.
pub(super) fn edge(
    wishes: Wishes,
) -> Result<(highball_edge::Settings, Option<highball::auth::Settings>), String> {
    let Wishes { listen, admin, security, endpoints } = wishes;
    let mut settings = read(FILE, Path::new("")).map_err(|problems| problems.to_string())?.settings;
    // On a laptop a client without the .proto files is a friend; the banner says that this box is open.
    settings.limits = Settings { reflection: !security.is_production(), ..settings.limits };
    let Security { tls, auth, health } = security.read(&mut settings.limits)?;
    let tls = tls.as_ref().map(own);
    let listener = |address: ListenAddr| {
        let tls = tls.clone().filter(|_| matches!(address, ListenAddr::Tcp(_)));
        Listener { address, tls, proxy_protocol: Vec::new() }
    };
    settings.listeners = listen.into_iter().map(listener).collect();
    settings.admin = Some(admin);
    settings.health = health;
    for cluster in settings.clusters.values_mut() {
        cluster.target = format!("file://{}", endpoints.display());
    }
    Ok((settings, auth))
}

/// The same, as the edge says it.
fn own(tls: &tls::Settings) -> Tls {
    let pair = |pair: &tls::Pair| Pair {
        certificate: pair.cert.clone(),
        key: pair.key.clone(),
        names: pair.names.clone(),
    };
    Tls {
        pairs: tls.pairs.iter().map(pair).collect(),
        strict_names: tls.strict_names,
        client_ca: tls.client_ca.clone(),
        client_auth: tls.client_auth,
        crl: tls.crl.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_one_without_a_warning() {
        let read = read(FILE, Path::new("")).unwrap();
        assert_eq!(read.warnings, []);
        assert_eq!(read.settings.clusters.keys().collect::<Vec<_>>(), ["orders"]);
    }
}
