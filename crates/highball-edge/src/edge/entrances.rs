//! What the listeners of a file ask of their connections.

use std::sync::Arc;

use highball_net::proxy_protocol::{Network, Proxies};
use highball_net::tls::{self, Pair, TlsError};
use highball_net::{ListenAddr, Platform, ServerTls};

use super::EdgeError;
use crate::settings::{self, Settings};

/// An address with what its connections pass.
pub(super) type Entrance = (ListenAddr, Option<Arc<ServerTls>>, Option<Arc<Proxies>>);

/// Reads certificates and networks of every listener.
pub(super) fn entrances(
    settings: &Settings,
    platform: &Arc<dyn Platform>,
) -> Result<Vec<Entrance>, EdgeError> {
    let (mut entrances, mut problems) = (Vec::new(), Vec::new());
    for listener in &settings.listeners {
        let address = &listener.address;
        let tls = listener.tls.as_ref().map(|tls| server_tls(tls, platform)).transpose();
        let tls = tls.map_err(|error| problems.push(format!("listener {address}: {error}"))).ok().flatten();
        let networks: Result<Vec<Network>, _> =
            listener.proxy_protocol.iter().map(|text| text.parse()).collect();
        let networks = networks.map_err(|error| problems.push(format!("listener {address}: {error}")));
        let proxies = networks.ok().filter(|networks| !networks.is_empty());
        entrances.push((
            address.clone(),
            tls.map(Arc::new),
            proxies.map(|list| Arc::new(Proxies::new(list))),
        ));
    }
    if problems.is_empty() { Ok(entrances) } else { Err(EdgeError::from(problems)) }
}

/// The certificates of a listener.
fn server_tls(wanted: &settings::Tls, platform: &Arc<dyn Platform>) -> Result<ServerTls, TlsError> {
    let settings::Tls { pairs, strict_names, client_ca, client_auth, crl } = wanted;
    let pairs = pairs.iter().map(|pair| Pair::new(&pair.certificate, &pair.key).with_names(&pair.names));
    let mut files = tls::Settings::of(pairs.collect());
    if *strict_names {
        files = files.with_strict_names();
    }
    if let Some(ca) = client_ca {
        files = files.with_client_ca(ca, *client_auth);
    }
    if let Some(crl) = crl {
        files = files.with_crl(crl);
    }
    ServerTls::load(files, platform.clone())
}
