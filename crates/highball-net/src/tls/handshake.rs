//! Why a handshake failed: a label for metrics, a sentence for the log.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::explain::{Shown, explain, explain_io};

/// The label of a handshake that did not fail (gRFC A118).
pub const SUCCESS: &str = "SUCCESS";

/// Why a handshake failed, as a closed set. The labels are those of gRFC A118, and five of ours for what it lumps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The peer's certificate has expired.
    CertificateExpired,
    /// The peer's certificate is not valid yet.
    CertificateNotYetValid,
    /// The peer's certificate comes from a CA that we do not trust.
    CertificateAuthorityInvalid,
    /// The peer's certificate is revoked.
    CertificateRevoked,
    /// The client showed no certificate, and one is required (ours).
    CertificateRequired,
    /// The peer's certificate is not X.509 as we read it.
    CertificateMalformed,
    /// The peer's certificate was refused for another reason: its purpose, an unknown revocation status.
    CertificateVerificationFailed,
    /// The client refused the server's certificate (ours).
    CertificateRefusedByClient,
    /// The server refused the client's certificate (ours).
    CertificateRefusedByServer,
    /// The server's certificate is for other names than the one that was dialled.
    CertificateHostnameMismatch,
    /// The client asked for a name that no certificate of the server is for, or for none, and names are strict (ours).
    ServerNameUnrecognized,
    /// A signature in the peer's chain or handshake is wrong.
    SignatureVerificationFailed,
    /// No cipher suite or signature scheme in common.
    CipherSuiteMismatch,
    /// No key exchange group in common.
    KeyExchangeFailure,
    /// The peer speaks neither TLS 1.2 nor 1.3.
    ProtocolVersionUnsupported,
    /// No application protocol in common: ours are `h2` and, for servers, `http/1.1`.
    NoApplicationProtocol,
    /// A record could not be decrypted.
    DecryptionFailed,
    /// The peer broke the protocol.
    UnexpectedMessage,
    /// The caller ran out of patience.
    HandshakeTimeout,
    /// The peer went away, as port scans and TCP health checks do.
    PeerConnectionClosed,
    /// What arrived is not TLS, such as plaintext HTTP (ours).
    NotTls,
    /// Anything else.
    UnknownFailure,
}

impl Reason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 22] = [
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateAuthorityInvalid,
        Self::CertificateRevoked,
        Self::CertificateRequired,
        Self::CertificateMalformed,
        Self::CertificateVerificationFailed,
        Self::CertificateRefusedByClient,
        Self::CertificateRefusedByServer,
        Self::CertificateHostnameMismatch,
        Self::ServerNameUnrecognized,
        Self::SignatureVerificationFailed,
        Self::CipherSuiteMismatch,
        Self::KeyExchangeFailure,
        Self::ProtocolVersionUnsupported,
        Self::NoApplicationProtocol,
        Self::DecryptionFailed,
        Self::UnexpectedMessage,
        Self::HandshakeTimeout,
        Self::PeerConnectionClosed,
        Self::NotTls,
        Self::UnknownFailure,
    ];

    /// The value of the label `grpc.tls.handshake.result`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::CertificateExpired => "CERTIFICATE_EXPIRED",
            Self::CertificateNotYetValid => "CERTIFICATE_NOT_YET_VALID",
            Self::CertificateAuthorityInvalid => "CERTIFICATE_AUTHORITY_INVALID",
            Self::CertificateRevoked => "CERTIFICATE_REVOKED",
            Self::CertificateRequired => "CERTIFICATE_REQUIRED",
            Self::CertificateMalformed => "CERTIFICATE_MALFORMED",
            Self::CertificateVerificationFailed => "CERTIFICATE_VERIFICATION_FAILED",
            Self::CertificateRefusedByClient => "CERTIFICATE_REFUSED_BY_CLIENT",
            Self::CertificateRefusedByServer => "CERTIFICATE_REFUSED_BY_SERVER",
            Self::CertificateHostnameMismatch => "CERTIFICATE_HOSTNAME_MISMATCH",
            Self::ServerNameUnrecognized => "SERVER_NAME_UNRECOGNIZED",
            Self::SignatureVerificationFailed => "SIGNATURE_VERIFICATION_FAILED",
            Self::CipherSuiteMismatch => "CIPHER_SUITE_MISMATCH",
            Self::KeyExchangeFailure => "KEY_EXCHANGE_FAILURE",
            Self::ProtocolVersionUnsupported => "PROTOCOL_VERSION_UNSUPPORTED",
            Self::NoApplicationProtocol => "NO_APPLICATION_PROTOCOL",
            Self::DecryptionFailed => "DECRYPTION_FAILED",
            Self::UnexpectedMessage => "UNEXPECTED_MESSAGE",
            Self::HandshakeTimeout => "HANDSHAKE_TIMEOUT",
            Self::PeerConnectionClosed => "PEER_CONNECTION_CLOSED",
            Self::NotTls => "NOT_TLS",
            Self::UnknownFailure => "UNKNOWN_FAILURE",
        }
    }
}

/// A handshake that failed. Its text is for the log; the peer gets a TLS alert and nothing else.
#[derive(Debug)]
pub struct HandshakeError {
    reason: Reason,
    sentence: Cow<'static, str>,
    source: Option<io::Error>,
}

impl HandshakeError {
    /// The caller gave up on it after `limit`.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        Self {
            reason: Reason::HandshakeTimeout,
            sentence: format!("the TLS handshake was not finished within {limit:?}").into(),
            source: None,
        }
    }

    /// What this side of the handshake made of it.
    pub(super) fn new(
        reason: Reason,
        sentence: impl Into<Cow<'static, str>>,
        source: Option<io::Error>,
    ) -> Self {
        Self { reason, sentence: sentence.into(), source }
    }

    /// The verified certificate holds names that cannot be read. Better refused than half known.
    pub(super) fn unreadable() -> Self {
        Self::new(Reason::CertificateMalformed, "the names in the client's certificate cannot be read", None)
    }

    /// The client asked for a name that nothing is for.
    pub(super) fn unrecognized(name: Option<&str>) -> Self {
        let sentence = match name {
            Some(name) => {
                format!("the client asked for {name}, and no certificate is for that (strict_names)").into()
            }
            None => "the client asked for no server name, and it must (strict_names)".into(),
        };
        Self { reason: Reason::ServerNameUnrecognized, sentence, source: None }
    }

    /// What rustls or the transport said, and to which certificate, once one was chosen.
    pub(super) fn of(source: io::Error, shown: Option<&Shown<'_>>) -> Self {
        let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let (reason, sentence) = match tls {
            Some(error) => explain(error, shown),
            None => explain_io(&source),
        };
        Self { reason, sentence, source: Some(source) }
    }

    /// Why, for metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Error for HandshakeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
