//! From what rustls says to what the person who dialled understands.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

use super::{Facts, HandshakeError, Reason};
use crate::tls::clock::unix_date;

/// Names of the server's certificate that are told: it may have a hundred.
const NAMES_MAX: usize = 5;

/// Whether a server that was spoken to in plaintext answered with a TLS alert, as it does on a port that speaks TLS. Give it
/// the first bytes that came, at least three. Nothing that HTTP/2 sends begins like that: it would be a frame of a megabyte.
#[must_use]
pub fn looks_like_tls_alert(first: &[u8]) -> bool {
    // RFC 8446, section 5.1: the content type 21, then the version, which begins with 3.
    matches!(first, [21, 3, 0..=4, ..])
}

/// What the sentences are about.
#[derive(Debug, Clone)]
pub(super) struct Dialled {
    name: String,
    roots_file: PathBuf,
    shows_certificate: bool,
}

type Explained = (Reason, String);

impl Dialled {
    pub(super) fn new(name: &str, facts: &Facts) -> Self {
        Self {
            name: name.to_owned(),
            roots_file: facts.roots_file.clone(),
            shows_certificate: facts.identity.is_some(),
        }
    }

    /// The name is none.
    pub(super) fn no_name(&self) -> HandshakeError {
        let sentence = format!(
            "no certificate can be for \"{}\"; dial a DNS name or an IP address, or set server_name",
            self.name
        );
        HandshakeError::new(Reason::CertificateHostnameMismatch, sentence, None)
    }

    /// The handshake was finished without a protocol.
    pub(super) fn no_alpn(&self) -> HandshakeError {
        HandshakeError::new(Reason::NoApplicationProtocol, self.sentence_no_alpn(), None)
    }

    fn sentence_no_alpn(&self) -> String {
        format!(
            "{} speaks TLS and does not offer HTTP/2 in ALPN, which gRPC needs; is it a gRPC port, or a proxy that lacks h2?",
            self.name
        )
    }

    /// What rustls or the transport said, during the handshake.
    pub(super) fn explain(&self, source: io::Error) -> HandshakeError {
        let (reason, sentence) = match tls_error(&source) {
            Some(error) => self.explain_tls(error),
            None => explain_io(&source),
        };
        HandshakeError::new(reason, sentence, Some(source))
    }

    /// What rustls said after it, with a sentence; any other error as it is.
    pub(super) fn explain_later(&self, source: io::Error) -> io::Error {
        if tls_error(&source).is_none() {
            return source;
        }
        io::Error::new(source.kind(), self.explain(source))
    }

    fn explain_tls(&self, error: &rustls::Error) -> Explained {
        use rustls::Error as E;
        match error {
            E::InvalidCertificate(error) => self.explain_certificate(error),
            E::AlertReceived(alert) => self.explain_alert(*alert),
            E::PeerIncompatible(what) => explain_incompatible(what),
            E::NoApplicationProtocol => (Reason::NoApplicationProtocol, self.sentence_no_alpn()),
            E::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => (
                Reason::NotTls,
                "what the server sent is not TLS; does it speak plaintext on this port?".to_owned(),
            ),
            E::DecryptError => (Reason::DecryptionFailed, "a TLS record could not be decrypted".to_owned()),
            E::InvalidMessage(_)
            | E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord => {
                (Reason::UnexpectedMessage, format!("the server broke the TLS protocol: {error}"))
            }
            _ => (Reason::UnknownFailure, format!("the TLS handshake failed: {error}")),
        }
    }

    fn explain_certificate(&self, error: &CertificateError) -> Explained {
        use CertificateError as E;
        let dialled = &self.name;
        match error {
            E::NotValidForNameContext { presented, .. } => (
                Reason::CertificateHostnameMismatch,
                format!("the server's certificate is valid for {}, you dialled {dialled}", names(presented)),
            ),
            E::NotValidForName => (
                Reason::CertificateHostnameMismatch,
                format!("the server's certificate is not valid for {dialled}, which you dialled"),
            ),
            E::ExpiredContext { not_after, .. } => (
                Reason::CertificateExpired,
                format!("a certificate in the server's chain expired on {}", unix_date(*not_after)),
            ),
            E::Expired => {
                (Reason::CertificateExpired, "a certificate in the server's chain has expired".to_owned())
            }
            E::NotValidYetContext { not_before, .. } => (
                Reason::CertificateNotYetValid,
                format!(
                    "a certificate in the server's chain is valid from {} only; is one of the clocks wrong?",
                    unix_date(*not_before)
                ),
            ),
            E::UnknownIssuer => (
                Reason::CertificateAuthorityInvalid,
                format!(
                    "the server's certificate comes from a CA that is not in {}; add that CA, or have the server send its intermediates",
                    self.roots_file.display()
                ),
            ),
            E::Revoked => (Reason::CertificateRevoked, "the server's certificate is revoked".to_owned()),
            E::BadSignature => (
                Reason::SignatureVerificationFailed,
                format!(
                    "a signature of the server is wrong; did its CA get a new key under the old name? Then put that into {}",
                    self.roots_file.display()
                ),
            ),
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => (
                Reason::CertificateVerificationFailed,
                "the server's certificate is not for servers (its extended key usage lacks serverAuth)"
                    .to_owned(),
            ),
            E::BadEncoding => {
                (Reason::CertificateMalformed, "the server's certificate is not valid X.509".to_owned())
            }
            _ => (
                Reason::CertificateVerificationFailed,
                format!("the server's certificate was refused: {error}"),
            ),
        }
    }

    fn explain_alert(&self, alert: AlertDescription) -> Explained {
        use AlertDescription as A;
        let reason = match alert {
            A::CertificateRequired => return certificate_required(),
            // TLS 1.2 has no alert of that name, and servers use these two.
            A::HandshakeFailure | A::BadCertificate if !self.shows_certificate => {
                let sentence = format!(
                    "the server ended the TLS handshake with alert {alert:?}; does it want a certificate of the client's? None is set"
                );
                return (Reason::CertificateRequired, sentence);
            }
            A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied => {
                let sentence = format!(
                    "the server refused this client's certificate ({alert:?}); check its CA, its purpose and its dates"
                );
                return (Reason::CertificateRefusedByServer, sentence);
            }
            A::UnrecognisedName => {
                let sentence = format!("the server does not know the name {} (TLS server name)", self.name);
                return (Reason::CertificateHostnameMismatch, sentence);
            }
            A::NoApplicationProtocol => return (Reason::NoApplicationProtocol, self.sentence_no_alpn()),
            A::ProtocolVersion => Reason::ProtocolVersionUnsupported,
            A::HandshakeFailure | A::InsufficientSecurity => Reason::CipherSuiteMismatch,
            A::CloseNotify | A::UserCanceled => Reason::PeerConnectionClosed,
            _ => Reason::UnknownFailure,
        };
        (reason, format!("the server ended the TLS session with alert {alert:?}"))
    }
}

fn certificate_required() -> Explained {
    let sentence =
        "the server requires a certificate of the client's, and none is set; set the certificate and its key";
    (Reason::CertificateRequired, sentence.to_owned())
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn explain_io(error: &io::Error) -> Explained {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof, WriteZero};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof | WriteZero => (
            Reason::PeerConnectionClosed,
            "the server closed the connection during the TLS handshake; does it speak TLS on this port?"
                .to_owned(),
        ),
        _ => (Reason::UnknownFailure, format!("the connection failed during the TLS handshake: {error}")),
    }
}

fn explain_incompatible(what: &PeerIncompatible) -> Explained {
    use PeerIncompatible as P;
    let reason = match what {
        P::ServerDoesNotSupportTls12Or13 | P::ServerTlsVersionIsDisabledByOurConfig => {
            let sentence = "the server speaks neither TLS 1.2 nor TLS 1.3";
            return (Reason::ProtocolVersionUnsupported, sentence.to_owned());
        }
        P::NoCipherSuitesInCommon | P::NoSignatureSchemesInCommon => Reason::CipherSuiteMismatch,
        P::NoKxGroupsInCommon | P::NoEcPointFormatsInCommon => Reason::KeyExchangeFailure,
        _ => Reason::UnknownFailure,
    };
    (reason, format!("the server's TLS is not compatible: {what:?}"))
}

/// The first names of a certificate. rustls writes them as `DnsName("a.example")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').chars().take(253).collect::<String>()
    };
    let mut told: Vec<String> = presented.iter().take(NAMES_MAX).map(bare).collect();
    match presented.len() {
        0 => return "no DNS name and no IP address".to_owned(),
        count if count > NAMES_MAX => told.push(format!("{} more", count - NAMES_MAX)),
        _ => {}
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_alert_is_told_from_http2() {
        assert!(looks_like_tls_alert(&[21, 3, 3, 0, 2, 2, 50]));
        assert!(looks_like_tls_alert(&[21, 3, 1]));
        // An empty SETTINGS frame, HTTP/1.1, too little.
        for first in [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], b"HTTP/1.1 400", &[21, 3]] {
            assert!(!looks_like_tls_alert(first), "{first:?}");
        }
    }

    #[test]
    fn a_certificate_with_many_names_tells_a_few() {
        let presented: Vec<String> = (0..7).map(|n| format!("DnsName(\"{n}.example\")")).collect();
        assert_eq!(names(&presented), "0.example, 1.example, 2.example, 3.example, 4.example, 2 more");
        assert_eq!(names(&[]), "no DNS name and no IP address");
    }
}
