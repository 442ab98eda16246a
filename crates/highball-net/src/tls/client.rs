//! TLS for what dials.
//!
//! ```text
//!   Settings -> ClientTls::load             reads and checks every file, or one sentence about the first that is wrong
//!                  |  connect(io, name)     one handshake, with the files in force when it begins
//!                  |  watch(interval)       polls the files' content; good news is swapped in, bad news reported
//!                  v
//!               Connected { io, session }
//! ```
//!
//! The same stack and the same invariants as on the [server's side](super): the files in force are always a complete set that
//! was checked, a bad file never replaces a good one, and a connection keeps what it was made with. There is no way to skip
//! the verification of a server, and no session is resumed: a resumed one is not verified again, so a CA that was removed
//! would go on being trusted, and connections live too long for the handshakes to matter. Early data is never sent.
//!
//! TLS 1.3 lets a client finish before the server has looked at the client's certificate. The server's refusal is then the
//! first thing that is read, so reading explains errors, too: see [`Connected::io`].

mod config;
mod explain;
mod files;
mod session;
mod settings;

use std::fmt;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::watch::watch;
use super::{Alpn, Event, HandshakeError, Reason, TlsError};
use crate::{Io, Platform};
use config::InForce;
use explain::Dialled;
use files::Files;

pub use explain::looks_like_tls_alert;
pub use session::Session;
pub use settings::{Changed, Facts, Identity, Roots, SYSTEM_ROOTS, Settings};

/// The TLS of one or many channels. Shared by their connections; see the [module](self).
pub struct ClientTls {
    settings: Settings,
    platform: Arc<dyn Platform>,
    in_force: ArcSwap<InForce>,
    /// Fingerprints are compared within this process only.
    fingerprints: RandomState,
    /// One reload at a time: the later one must not be overtaken by the earlier.
    reloading: Mutex<()>,
}

impl ClientTls {
    /// Reads and checks all files. The wall clock of `platform` decides what is expired, now and in every handshake.
    ///
    /// Blocks on the file system, for as long as it takes to read a few small files; so does [`reload`](Self::reload).
    ///
    /// # Errors
    /// The first problem, as a sentence for the person who wrote the settings.
    pub fn load(settings: Settings, platform: Arc<dyn Platform>) -> Result<Self, TlsError> {
        settings.check()?;
        let fingerprints = RandomState::new();
        let files = Files::read(&settings)?;
        let in_force = InForce::new(&settings, &files, files.prints(&fingerprints), None, &platform)?;
        Ok(Self {
            settings,
            platform,
            in_force: ArcSwap::from_pointee(in_force),
            fingerprints,
            reloading: Mutex::new(()),
        })
    }

    /// Reads the files again and puts them in force, all together, if their content changed and all are good. Handshakes
    /// that have begun and open connections are not touched.
    ///
    /// # Errors
    /// As [`load`](Self::load); then the old files stay in force.
    pub fn reload(&self) -> Result<Changed, TlsError> {
        // Nothing panics while holding it, and there is nothing in it to be torn.
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.settings)?;
        let prints = files.prints(&self.fingerprints);
        let old = self.in_force.load();
        let changed = old.prints.changed(&prints);
        if changed.any() {
            let next = InForce::new(&self.settings, &files, prints, Some(&old), &self.platform)?;
            self.in_force.store(Arc::new(next));
        }
        Ok(changed)
    }

    /// Reloads whenever the files' content changes, for ever; as [`ServerTls::watch`](super::ServerTls::watch) does.
    ///
    /// # Cancel safety
    /// Dropping the future stops watching. A reload is never left half done: there is no await point in it.
    pub async fn watch(&self, interval: Duration, report: impl FnMut(Event<Changed>) + Send) {
        watch(interval, || self.reload(), |changed| changed.any(), report).await;
    }

    /// Does one handshake on a byte stream that was just connected, as a client of `server_name`: a DNS name or an IP
    /// address, which the server's certificate must be for. [`Settings::server_name`] replaces it. `offered` are the
    /// protocols to agree on, the favourite first, and one of them is agreed on: gRPC needs `h2`, and a server that ignores
    /// ALPN may be anything. Where HTTP/1.1 is offered, such a server speaks that.
    ///
    /// There is no time limit here: the caller sets one and reports [`HandshakeError::timed_out`].
    ///
    /// # Errors
    /// The handshake failed; the peer was sent an alert where TLS has one, and the byte stream is closed. With
    /// [`Reason::NoApplicationProtocol`], the server is a TLS server and none of HTTP/2's.
    ///
    /// # Cancel safety
    /// Dropping the future closes the byte stream without an alert. Nothing else is lost or left behind.
    pub async fn connect(
        &self,
        io: Box<dyn Io>,
        server_name: &str,
        offered: &[Alpn],
    ) -> Result<Connected, HandshakeError> {
        let in_force = self.in_force.load_full();
        let server_name = self.settings.server_name.as_deref().unwrap_or(server_name);
        let dialled = Dialled::new(server_name, &in_force.facts);
        let name = server(server_name).ok_or_else(|| dialled.no_name())?;
        let connector = TlsConnector::from(in_force.config.clone());
        let offers = offered.iter().map(|alpn| alpn.name().as_bytes().to_vec()).collect();
        let handshake = connector.with_alpn(offers).connect(name, io);
        let stream = handshake.await.map_err(|error| dialled.explain(error))?;
        let (_, connection) = stream.get_ref();
        let alpn = connection.alpn_protocol().and_then(Alpn::of).filter(|alpn| offered.contains(alpn));
        let default = offered.contains(&Alpn::Http1).then_some(Alpn::Http1);
        let session = Session::of(connection, alpn.or(default).ok_or_else(|| dialled.no_alpn())?);
        Ok(Connected { io: session::explaining(stream, dialled), session })
    }

    /// What is in force now, for the banner, the admin port and gauges.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.in_force.load().facts.clone()
    }

    /// What it was loaded from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("settings", &self.settings)
            .field("facts", &self.in_force.load().facts)
            .finish_non_exhaustive()
    }
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connected {
    /// The plaintext side of it. An error of its that is TLS's own holds a [`HandshakeError`] with the sentence for it, such
    /// as a server's refusal of our certificate, which TLS 1.3 tells only after the handshake.
    pub io: Box<dyn Io>,
    /// What was agreed on.
    pub session: Session,
}

/// The name as TLS has it: an address without brackets, a DNS name without the final dot (RFC 6066, section 3).
fn server(name: &str) -> Option<ServerName<'static>> {
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let inner = inner.strip_suffix('.').unwrap_or(inner);
    ServerName::try_from(inner.to_owned()).ok()
}
