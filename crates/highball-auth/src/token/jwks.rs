//! A JWK Set (RFC 7517): public signing keys, whatever else the document holds.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::Algorithm;
use super::key::{self, Key, KeyError, KeySet};

/// Reads the keys of a document.
///
/// Keys that we do not know, and those for encryption, are skipped and counted (RFC 7517, section 5). So are shared
/// secrets: a document of public keys is no place for one, and to accept one is how forgers are let in.
///
/// # Errors
/// [`KeyError`] when it is not a JWKS, or holds more than `keys_max` keys. An empty list is a document like any other: it
/// is how an issuer withdraws all keys.
pub(crate) fn parse(document: &[u8], keys_max: usize) -> Result<KeySet, KeyError> {
    let Document { keys } =
        serde_json::from_slice(document).map_err(|cause| KeyError::new(format!("is not a JWKS: {cause}")))?;
    if keys.len() > keys_max {
        return Err(KeyError::new(format!("holds {} keys; token.jwks.keys_max is {keys_max}", keys.len())));
    }
    let mut set = KeySet::default();
    for value in keys {
        match usable(value) {
            // A second key of the same name and kind could never be told from the first.
            Some(key) if !set.keys.iter().any(|known| is_ambiguous(known, &key)) => set.keys.push(key),
            _ => set.skipped += 1,
        }
    }
    Ok(set)
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

fn is_ambiguous(known: &Key, new: &Key) -> bool {
    new.kid.is_some() && known.kid == new.kid && known.algorithm == new.algorithm
}

fn usable(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    if jwk
        .key_ops
        .as_ref()
        .is_some_and(|operations| !operations.iter().any(|operation| operation == "verify"))
    {
        return None;
    }
    let (algorithm, decoding, material) = public(&jwk)?;
    // The kind of the key decides; a document that says otherwise means another algorithm than we speak.
    if jwk.alg.as_deref().is_some_and(|name| name.parse() != Ok(algorithm)) {
        return None;
    }
    Some(Key { kid: jwk.kid, algorithm, material, decoding })
}

fn public(jwk: &Jwk) -> Option<(Algorithm, DecodingKey, String)> {
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (jwk.n.as_deref()?, jwk.e.as_deref()?);
            let bits = significant_bits(&URL_SAFE_NO_PAD.decode(n).ok()?);
            // What the verifier accepts; a shorter one would only fail at every token.
            (2048..=8192).contains(&bits).then_some(())?;
            let decoding = DecodingKey::from_rsa_components(n, e).ok()?;
            Some((Algorithm::Rs256, decoding, format!("{n}.{e}")))
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
            let decoding = DecodingKey::from_ec_components(x, y).ok()?;
            key::check_public(Algorithm::Es256, decoding.try_get_as_bytes().ok()?).ok()?;
            Some((Algorithm::Es256, decoding, format!("{x}.{y}")))
        }
        ("OKP", Some("Ed25519")) => {
            let x = jwk.x.as_deref()?;
            let decoding = DecodingKey::from_ed_components(x).ok()?;
            key::check_public(Algorithm::EdDsa, decoding.try_get_as_bytes().ok()?).ok()?;
            Some((Algorithm::EdDsa, decoding, x.to_owned()))
        }
        _ => None,
    }
}

/// Of a big-endian number.
fn significant_bits(bytes: &[u8]) -> usize {
    let leading: usize = bytes.iter().take_while(|byte| **byte == 0).count();
    match bytes.get(leading) {
        Some(first) => (bytes.len() - leading) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::generate;
    use proptest::prelude::*;
    use serde_json::json;

    fn document(keys: &Value) -> Vec<u8> {
        json!({ "keys": keys }).to_string().into_bytes()
    }

    #[test]
    fn what_is_not_a_public_signing_key_is_skipped_and_counted() {
        let good: Value = serde_json::from_str(&generate(Algorithm::Es256).unwrap().jwk).unwrap();
        let altered = |name: &str, value: Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            jwk
        };
        let keys = json!([
            good,
            good,
            altered("use", json!("enc")),
            altered("key_ops", json!(["sign"])),
            altered("alg", json!("HS256")),
            altered("crv", json!("P-384")),
            altered("y", json!("AAAA")),
            altered("kid", json!(7)),
            { "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB" },
            { "kty": "OKP", "crv": "X25519", "x": "AAAA" },
            { "kty": "AKP" },
            "text",
        ]);
        let set = parse(&document(&keys), 64).unwrap();
        assert_eq!((set.keys.len(), set.skipped), (1, 12));
        assert_eq!(set.keys[0].algorithm, Algorithm::Es256);
    }

    #[test]
    fn a_document_has_bounds_and_a_shape() {
        let key: Value = serde_json::from_str(&generate(Algorithm::EdDsa).unwrap().jwk).unwrap();
        let error = parse(&document(&json!([key, key, key])), 2).unwrap_err();
        assert_eq!(error.to_string(), "holds 3 keys; token.jwks.keys_max is 2");
        assert!(parse(b"{}", 64).is_err());
        assert!(parse(b"<html>", 64).is_err());
        assert!(parse(&document(&json!([])), 64).unwrap().keys.is_empty());
    }

    #[test]
    fn leading_zeros_make_no_key_longer() {
        assert_eq!(significant_bits(&[0, 0, 0x80, 0]), 16);
        assert_eq!(significant_bits(&[1]), 1);
        assert_eq!(significant_bits(&[]), 0);
    }

    proptest! {
        #[test]
        fn no_document_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes, 64));
        }
    }
}
