//! TLS: certificates that reload, certificates of both sides, and failures that say what was wrong. This page is about what
//! listens; what dials is in [`client`].
//!
//! ```text
//!   Settings -> ServerTls::load          reads and checks every file, or one sentence about the first that is wrong
//!                  |  accept(io)         one handshake, with the files in force when it begins
//!                  |  watch(interval)    polls the files' content; good news is swapped in, bad news reported
//!                  v
//!               Accepted { io, certificate, alpn }
//! ```
//!
//! TLS 1.2 and 1.3 by rustls on aws-lc-rs with its default suites, all of them forward secret and authenticated. ALPN offers
//! `h2` and `http/1.1`. Invariants: the files in force are always a complete set that was checked; a bad file never replaces a
//! good one; a connection keeps what it was accepted with. So a client whose CA was removed, or whose certificate was
//! revoked, is refused at its *next* handshake; the age limit of connections bounds how long its present one lasts.
//!
//! **Several certificates.** A listener may have up to [`PAIRS_MAX`]: a client is shown the one for the server name that it
//! asks for (SNI, RFC 6066, section 3), by exact name before wildcard, and without such a name the first, unless
//! [`Settings::strict_names`]. A name that two are for is an error and not a question of their order.
//!
//! **Resumption.** A resumed session is not verified again. Where clients show certificates there is none: no tickets, no
//! session ids, so that a removed CA, a revocation and an expiry hold at once. Elsewhere sessions are kept in memory, at most
//! 256, and forgotten with each reload. 0-RTT data is never accepted.

mod certificates;
pub mod client;
mod clients;
mod clock;
mod config;
mod error;
mod explain;
mod facts;
mod files;
mod handshake;
mod identity;
mod names;
mod own;
mod pem;
mod settings;
mod watch;

use std::fmt;
use std::hash::RandomState;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use highball_core::caller::Certificate;
use rustls::HandshakeKind;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;

use crate::{Io, Platform};
use config::InForce;
use explain::Shown;
use files::Files;

pub use client::ClientTls;
pub use error::TlsError;
pub use facts::{CertificateFacts, Changed, Facts};
pub use handshake::{HandshakeError, Reason, SUCCESS};
pub use settings::{ClientAuth, PAIRS_MAX, Pair, Settings};
pub use watch::{Event, WATCH_INTERVAL, WATCH_INTERVAL_MIN};

/// The TLS of one listener. Shared by its connections; see the [module](self).
pub struct ServerTls {
    settings: Settings,
    platform: Arc<dyn Platform>,
    in_force: ArcSwap<InForce>,
    /// Fingerprints are compared within this process only.
    fingerprints: RandomState,
    /// One reload at a time: the later one must not be overtaken by the earlier.
    reloading: Mutex<()>,
}

impl ServerTls {
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

    /// Does one handshake on a byte stream that was just accepted.
    ///
    /// There is no time limit here: a peer may stay silent for ever, so the caller sets one (10 s is the house default) and
    /// reports [`HandshakeError::timed_out`].
    ///
    /// # Errors
    /// The handshake failed; the peer was sent an alert where TLS has one, and the byte stream is closed.
    ///
    /// # Cancel safety
    /// Dropping the future closes the byte stream without an alert. Nothing else is lost or left behind.
    pub async fn accept(&self, io: Box<dyn Io>) -> Result<Accepted, HandshakeError> {
        let in_force = self.in_force.load_full();
        let hello = LazyConfigAcceptor::new(Acceptor::default(), io).await;
        let hello = hello.map_err(|error| HandshakeError::of(error, None))?;
        let name = hello.client_hello().server_name().map(str::to_owned);
        let Some(number) = in_force.certificates.choose(name.as_deref()) else {
            // rustls has this alert and no way to send it; that the client hears it is not certain with any.
            close(hello.io, &UNRECOGNIZED_NAME).await.ok();
            return Err(HandshakeError::unrecognized(name.as_deref()));
        };
        let stream = hello.into_stream(in_force.config.clone()).await.map_err(|error| {
            let file = self.settings.pairs.get(number).map(|pair| pair.cert.as_path());
            HandshakeError::of(error, Some(&Shown { file, name: name.as_deref() }))
        })?;
        let (_, session) = stream.get_ref();
        let certificate = match session.peer_certificates().and_then(<[_]>::first) {
            Some(leaf) => Some(identity::names(leaf).ok_or_else(HandshakeError::unreadable)?),
            None => None,
        };
        let alpn = session.alpn_protocol().and_then(Alpn::of);
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Accepted { io: Box::new(stream), certificate: certificate.map(Arc::new), alpn, resumed })
    }

    /// What is in force now, for the banner, the admin port and gauges.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.in_force.load().facts.clone()
    }

    /// When the first of the certificates in force expires; each has its own date in [`facts`](Self::facts). Alarm on it,
    /// renewal is somebody else's.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        let in_force = self.in_force.load();
        let dates = in_force.facts.certificates.iter().map(|certificate| certificate.not_after);
        // There is at least one.
        dates.min().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The files it was loaded from.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// A fatal alert, as a TLS record (RFC 8446, sections 5.1 and 6; RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Says a last word.
async fn close(mut io: Box<dyn Io>, alert: &[u8]) -> io::Result<()> {
    io.write_all(alert).await?;
    io.shutdown().await
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("settings", &self.settings)
            .field("facts", &self.in_force.load().facts)
            .finish_non_exhaustive()
    }
}

/// A connection after its handshake.
pub struct Accepted {
    /// The plaintext side of it.
    pub io: Box<dyn Io>,
    /// The names in the client's certificate, which was verified; `None` when it showed none or was not asked.
    pub certificate: Option<Arc<Certificate>>,
    /// What ALPN agreed on; `None` when the client offered nothing, as old ones do: then the preface tells.
    pub alpn: Option<Alpn>,
    /// Whether an earlier session was resumed (the label `grpc.tls.handshake.resumed` of gRFC A118).
    pub resumed: bool,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("certificate", &self.certificate)
            .field("alpn", &self.alpn)
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}

/// The protocol that ALPN (RFC 7301) agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// `h2`.
    Http2,
    /// `http/1.1`.
    Http1,
}

impl Alpn {
    /// What the server offers; when the client offers both, the first.
    const OFFERED: [Self; 2] = [Self::Http2, Self::Http1];

    /// The protocol's registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http2 => "h2",
            Self::Http1 => "http/1.1",
        }
    }

    fn of(name: &[u8]) -> Option<Self> {
        Self::OFFERED.into_iter().find(|alpn| alpn.name().as_bytes() == name)
    }
}
