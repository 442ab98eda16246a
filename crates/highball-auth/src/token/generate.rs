//! Makes keys for development.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::key::KeyError;
use super::{Algorithm, Signer};

/// A new key pair, in the forms that files hold.
#[derive(Clone)]
pub struct GeneratedKey {
    /// The private key, PKCS#8 in PEM. Whoever reads it can sign tokens.
    pub private_pem: String,
    /// The public key, in PEM.
    pub public_pem: String,
    /// The public key as an entry of a JWKS, named by its RFC 7638 thumbprint.
    pub jwk: String,
    /// A JWKS that holds this key only.
    pub jwks: String,
}

impl std::fmt::Debug for GeneratedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeneratedKey").field("jwk", &self.jwk).finish_non_exhaustive()
    }
}

/// Makes a key pair from the entropy of the system: not of the [`Platform`](highball_net::Platform), whose bits are not
/// for keys.
///
/// # Errors
/// [`KeyError`] for HS256, which has a secret instead of a pair, and when the system has no entropy.
pub fn generate(algorithm: Algorithm) -> Result<GeneratedKey, KeyError> {
    let (private, public) = match algorithm {
        Algorithm::Hs256 => {
            return Err(KeyError::new("HS256 has no key pair; make a secret with `openssl rand -hex 32`"));
        }
        Algorithm::Rs256 => rsa(),
        Algorithm::Es256 => p256(),
        Algorithm::EdDsa => ed25519(),
    }
    .map_err(|Unspecified| KeyError::new("the system could not make a key"))?;
    let private_pem = pem("PRIVATE KEY", &private);
    let signer = Signer::from_pem(private_pem.as_bytes())?;
    let jwk = signer.public_jwk().ok_or_else(|| KeyError::new("the new key has no public half"))?;
    Ok(GeneratedKey {
        private_pem,
        public_pem: pem("PUBLIC KEY", &public),
        jwk: pretty(&jwk),
        jwks: pretty(&json!({ "keys": [jwk] })),
    })
}

type Pair = Result<(Vec<u8>, Vec<u8>), Unspecified>;

fn ed25519() -> Pair {
    let pair = Ed25519KeyPair::generate()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok((pair.to_pkcs8v1()?.as_ref().to_vec(), public.as_ref().to_vec()))
}

fn p256() -> Pair {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok((pair.to_pkcs8v1()?.as_ref().to_vec(), public.as_ref().to_vec()))
}

fn rsa() -> Pair {
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048)?;
    let private: Pkcs8V1Der<'_> = pair.as_der()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
    Ok((private.as_ref().to_vec(), public.as_ref().to_vec()))
}

/// RFC 7468: 64 characters a line.
fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (index, character) in base64.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

fn pretty(value: &Value) -> String {
    // `{:#}` of a JSON value is its indented form and cannot fail.
    format!("{value:#}")
}
