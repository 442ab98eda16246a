//! From what rustls says to what a person understands.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

use super::Reason;
use super::clock::unix_date;

/// The label and the sentence.
pub(super) type Explained = (Reason, Cow<'static, str>);

/// The certificate that a client was shown.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) file: Option<&'a Path>,
    /// What the client asked for.
    pub(super) name: Option<&'a str>,
}

/// What the transport said.
pub(super) fn explain_io(error: &io::Error) -> Explained {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof, WriteZero};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof | WriteZero => {
            (Reason::PeerConnectionClosed, "the client closed the connection during the TLS handshake".into())
        }
        _ => (
            Reason::UnknownFailure,
            format!("the connection failed during the TLS handshake: {error}").into(),
        ),
    }
}

/// What rustls said.
pub(super) fn explain(error: &rustls::Error, shown: Option<&Shown<'_>>) -> Explained {
    use rustls::Error as E;
    match error {
        E::NoCertificatesPresented => (
            Reason::CertificateRequired,
            "the client showed no certificate, and one is required".into(),
        ),
        E::InvalidCertificate(error) => explain_certificate(error),
        E::AlertReceived(alert) => explain_alert(*alert, shown),
        E::PeerIncompatible(what) => explain_incompatible(what),
        E::NoApplicationProtocol => (
            Reason::NoApplicationProtocol,
            "the client offers neither h2 nor http/1.1 in ALPN".into(),
        ),
        E::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => (
            Reason::NotTls,
            "what the client sent is not TLS; is it a plaintext client on a TLS port?".into(),
        ),
        E::DecryptError => (
            Reason::DecryptionFailed,
            "a TLS record could not be decrypted".into(),
        ),
        E::InvalidMessage(_)
        | E::InappropriateMessage { .. }
        | E::InappropriateHandshakeMessage { .. }
        | E::PeerMisbehaved(_)
        | E::PeerSentOversizedRecord => (
            Reason::UnexpectedMessage,
            format!("the client broke the TLS protocol: {error}").into(),
        ),
        E::InvalidCertRevocationList(cause) => (
            Reason::CertificateVerificationFailed,
            format!("the revocation list for the client's certificate cannot be used ({cause:?}); check the crl file")
                .into(),
        ),
        _ => (
            Reason::UnknownFailure,
            format!("the TLS handshake failed: {error}").into(),
        ),
    }
}

fn explain_certificate(error: &CertificateError) -> Explained {
    use CertificateError as E;
    match error {
        E::ExpiredContext { not_after, .. } => (
            Reason::CertificateExpired,
            format!("the client's certificate expired on {}", unix_date(*not_after)).into(),
        ),
        E::Expired => (Reason::CertificateExpired, "the client's certificate has expired".into()),
        E::NotValidYetContext { not_before, .. } => (
            Reason::CertificateNotYetValid,
            format!(
                "the client's certificate is valid from {} only; is one of the clocks wrong?",
                unix_date(*not_before)
            )
            .into(),
        ),
        E::UnknownIssuer => (
            Reason::CertificateAuthorityInvalid,
            "the client's certificate comes from a CA that is not in client_ca".into(),
        ),
        E::Revoked => (Reason::CertificateRevoked, "the client's certificate is revoked".into()),
        E::UnknownRevocationStatus => (
            Reason::CertificateVerificationFailed,
            "no list in crl covers a certificate in the client's chain; add its CA's list".into(),
        ),
        E::BadSignature => (
            Reason::SignatureVerificationFailed,
            "a signature of the client is wrong; did its CA get a new key under the old name?".into(),
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => (
            Reason::CertificateVerificationFailed,
            "the client's certificate is not for clients (its extended key usage lacks clientAuth)".into(),
        ),
        E::BadEncoding => {
            (Reason::CertificateMalformed, "the client's certificate is not valid X.509".into())
        }
        _ => (
            Reason::CertificateVerificationFailed,
            format!("the client's certificate was refused: {error}").into(),
        ),
    }
}

fn explain_alert(alert: AlertDescription, shown: Option<&Shown<'_>>) -> Explained {
    use AlertDescription as A;
    let reason = match alert {
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA => {
            let file = shown.and_then(|shown| shown.file).map(|file| format!(" {}", file.display()));
            let name = shown.and_then(|shown| shown.name).map(|name| format!(" for {name}"));
            let sentence = format!(
                "the client refused this server's certificate{}{} ({alert:?}); check its CA, its names and its dates",
                file.unwrap_or_default(),
                name.unwrap_or_default(),
            );
            return (Reason::CertificateRefusedByClient, sentence.into());
        }
        A::ProtocolVersion => Reason::ProtocolVersionUnsupported,
        A::HandshakeFailure | A::InsufficientSecurity => Reason::CipherSuiteMismatch,
        A::NoApplicationProtocol => Reason::NoApplicationProtocol,
        A::CloseNotify | A::UserCanceled => Reason::PeerConnectionClosed,
        _ => Reason::UnknownFailure,
    };
    (reason, format!("the client ended the TLS handshake with alert {alert:?}").into())
}

fn explain_incompatible(what: &PeerIncompatible) -> Explained {
    use PeerIncompatible as P;
    let reason = match what {
        P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        // The extension came with TLS 1.2 (RFC 5246 §7.4.1.4.1), and rustls misses it before it looks at the version.
        | P::SignatureAlgorithmsExtensionRequired => {
            let sentence = "the client speaks neither TLS 1.2 nor TLS 1.3";
            return (Reason::ProtocolVersionUnsupported, sentence.into());
        }
        P::NoCipherSuitesInCommon
        | P::NoSignatureSchemesInCommon
        | P::NoCertificateRequestSignatureSchemesInCommon => Reason::CipherSuiteMismatch,
        P::NoKxGroupsInCommon
        | P::KeyShareExtensionRequired
        | P::NamedGroupsExtensionRequired
        | P::NoEcPointFormatsInCommon => Reason::KeyExchangeFailure,
        _ => Reason::UnknownFailure,
    };
    (reason, format!("the client's TLS is not compatible: {what:?}").into())
}
