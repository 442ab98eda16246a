//! Signatures, names of keys, files.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use highball_net::Tasks;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::Reason;
use crate::testing::{Clock, NOW, SECRET, claims, jwks, pair, signer};
use crate::token::{Algorithm, JwksUrl, KeySource, Settings, Signer, Verifier, World};

/// Files for one test, and the owner of its tasks.
struct Stage {
    dir: tempfile::TempDir,
    tasks: Tasks,
}

impl Stage {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), tasks: Tasks::new() }
    }

    fn file(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join("keys");
        fs::write(&path, text).unwrap();
        path
    }

    async fn start(&self, keys: KeySource) -> Result<Verifier, String> {
        let settings = Settings { keys: Some(keys), ..Settings::default() };
        let world = World { platform: Clock::new(), ..World::new(self.tasks.spawner()) };
        Verifier::start(&settings, world).await.map_err(|error| error.to_string())
    }

    async fn jwks(&self, entries: &[&str]) -> Verifier {
        self.start(KeySource::JwksFile { path: self.file(jwks(entries)) }).await.unwrap()
    }
}

async fn refusal(verifier: &Verifier, token: &str) -> Reason {
    verifier.verify(token.as_bytes()).await.expect_err(token)
}

#[tokio::test]
async fn every_algorithm_is_accepted_from_a_file_and_from_a_jwks() {
    let stage = Stage::new();
    for algorithm in Algorithm::ALL {
        let mut verifiers = Vec::new();
        if algorithm == Algorithm::Hs256 {
            verifiers.push(
                stage.start(KeySource::SecretFile { path: stage.file(SECRET), kid: None }).await.unwrap(),
            );
        } else {
            let path = stage.file(pair(algorithm).public_pem);
            verifiers.push(stage.start(KeySource::PemFile { path, kid: None }).await.unwrap());
            let entries = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256].map(|each| pair(each).jwk);
            verifiers.push(stage.jwks(&entries.each_ref().map(String::as_str)).await);
        }
        let token = signer(algorithm).sign(&claims()).unwrap();
        for verifier in verifiers {
            assert_eq!(verifier.verify(token.as_bytes()).await.unwrap().subject, "ann", "{algorithm}");
            let mut forged = token.clone().into_bytes();
            // The first character of the signature: its last may hold bits that mean nothing.
            let at = token.rfind('.').unwrap() + 1;
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(verifier.verify(&forged).await, Err(Reason::BadSignature), "{algorithm}");
        }
    }
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret() {
    let stage = Stage::new();
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        let pair = pair(algorithm);
        let by_file =
            stage.start(KeySource::PemFile { path: stage.file(&pair.public_pem), kid: None }).await.unwrap();
        let by_jwks = stage.jwks(&[&pair.jwk]).await;
        let jwk: Value = serde_json::from_str(&pair.jwk).unwrap();
        let material = |name: &str| jwk[name].as_str().unwrap_or_default().as_bytes().to_vec();
        for secret in [
            pair.public_pem.clone().into_bytes(),
            pair.public_pem.trim_end().into(),
            material("n"),
            material("x"),
        ] {
            for kid in [None, jwk["kid"].as_str()] {
                let mut header = Header::new(jsonwebtoken::Algorithm::HS256);
                header.kid = kid.map(str::to_owned);
                let body = json!({ "sub": "eve", "exp": NOW + 60 });
                let forged =
                    jsonwebtoken::encode(&header, &body, &EncodingKey::from_secret(&secret)).unwrap();
                for verifier in [&by_file, &by_jwks] {
                    let reason = refusal(verifier, &forged).await;
                    assert!(
                        matches!(reason, Reason::BadSignature | Reason::UnknownKey),
                        "{algorithm}: {reason}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused_in_every_spelling() {
    let stage = Stage::new();
    let verifier = stage.jwks(&[&pair(Algorithm::Es256).jwk]).await;
    let payload = URL_SAFE_NO_PAD.encode(json!({ "sub": "eve", "exp": NOW + 60 }).to_string());
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        for signature in ["", "AAAA"] {
            assert_eq!(
                refusal(&verifier, &format!("{header}.{payload}.{signature}")).await,
                Reason::BadSignature
            );
        }
    }
    // A good header and no signature, and one of zeros.
    let good = signer(Algorithm::Es256).sign(&claims()).unwrap();
    let (message, _) = good.rsplit_once('.').unwrap();
    for signature in [String::new(), URL_SAFE_NO_PAD.encode([0; 64])] {
        assert_eq!(refusal(&verifier, &format!("{message}.{signature}")).await, Reason::BadSignature);
    }
}

#[tokio::test]
async fn a_key_answers_to_its_name_only() {
    let stage = Stage::new();
    let (es, ed) = (pair(Algorithm::Es256), pair(Algorithm::EdDsa));
    let both = stage.jwks(&[&es.jwk, &ed.jwk]).await;
    let token = |algorithm, kid: &str| signer(algorithm).with_kid(kid).sign(&claims()).unwrap();
    assert_eq!(refusal(&both, &token(Algorithm::Es256, "other")).await, Reason::UnknownKey);
    // The name of the other key, which is for another algorithm.
    let ed_kid: Value = serde_json::from_str(&ed.jwk).unwrap();
    let stolen_name = token(Algorithm::Es256, ed_kid["kid"].as_str().unwrap());
    assert_eq!(refusal(&both, &stolen_name).await, Reason::BadSignature);
    let named = stage
        .start(KeySource::PemFile { path: stage.file(&es.public_pem), kid: Some("mine".into()) })
        .await
        .unwrap();
    assert!(named.verify(token(Algorithm::Es256, "mine").as_bytes()).await.is_ok());
    assert_eq!(refusal(&named, &token(Algorithm::Es256, "other")).await, Reason::UnknownKey);
    assert_eq!(refusal(&named, &token(Algorithm::EdDsa, "mine")).await, Reason::BadSignature);
}

#[tokio::test]
async fn a_token_without_a_kid_must_leave_no_choice() {
    let stage = Stage::new();
    let mut twin: Value = serde_json::from_str(&pair(Algorithm::Es256).jwk).unwrap();
    twin["kid"] = json!("twin");
    let nameless = {
        let header = Header::new(jsonwebtoken::Algorithm::ES256);
        let key = EncodingKey::from_ec_pem(pair(Algorithm::Es256).private_pem.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &json!({ "sub": "ann", "exp": NOW + 60 }), &key).unwrap()
    };
    let one = stage.jwks(&[&pair(Algorithm::Es256).jwk, &pair(Algorithm::EdDsa).jwk]).await;
    assert!(one.verify(nameless.as_bytes()).await.is_ok());
    let two = stage.jwks(&[&pair(Algorithm::Es256).jwk, &twin.to_string()]).await;
    assert_eq!(refusal(&two, &nameless).await, Reason::UnknownKey);
}

#[tokio::test]
async fn an_oversized_token_is_refused_before_it_is_examined() {
    let stage = Stage::new();
    let verifier = stage.jwks(&[&pair(Algorithm::EdDsa).jwk]).await;
    let mut long = claims();
    long.roles = vec!["r".repeat(8 << 10)];
    let token = signer(Algorithm::EdDsa).sign(&long).unwrap();
    assert_eq!(refusal(&verifier, &token).await, Reason::Malformed);
    assert_eq!(verifier.cache().misses, 0);
}

#[tokio::test]
async fn a_key_that_cannot_work_fails_the_start_with_one_sentence() {
    let stage = Stage::new();
    let private = pair(Algorithm::Es256).private_pem;
    let public = pair(Algorithm::Rs256).public_pem;
    let pem = |text: &str| KeySource::PemFile { path: stage.file(text), kid: None };
    let secret = |text: &str| KeySource::SecretFile { path: stage.file(text), kid: None };
    let document = |text: &str| KeySource::JwksFile { path: stage.file(text) };
    assert!(stage.start(pem(&private)).await.unwrap_err().contains("holds a private key"));
    assert!(stage.start(pem("nothing")).await.unwrap_err().contains("holds no public key"));
    assert!(stage.start(secret("short")).await.unwrap_err().contains("less than 32 bytes"));
    assert!(stage.start(secret(&public)).await.unwrap_err().contains("PEM key, which is no secret"));
    assert!(stage.start(document("{}")).await.unwrap_err().contains("is not a JWKS"));
    assert!(
        stage.start(document("{\"keys\":[]}")).await.unwrap_err().contains("no RSA, P-256 or Ed25519 key")
    );
    let missing = KeySource::PemFile { path: stage.dir.path().join("missing"), kid: None };
    assert!(stage.start(missing).await.unwrap_err().starts_with("cannot read "));
    let ca = Some(stage.dir.path().join("missing"));
    let url = KeySource::JwksUrl(JwksUrl { ca, ..JwksUrl::new("https://login.example/jwks") });
    assert!(
        stage
            .start(url)
            .await
            .unwrap_err()
            .ends_with("missing does not exist; correct the path or put the file there")
    );
}

#[test]
fn a_signer_needs_a_private_key() {
    assert!(Signer::from_pem(pair(Algorithm::Rs256).public_pem.as_bytes()).is_err());
    assert!(Signer::from_pem(pair(Algorithm::Es256).public_pem.as_bytes()).is_err());
    assert!(Signer::from_pem(SECRET).is_err());
    assert!(Signer::from_secret(pair(Algorithm::Es256).private_pem.as_bytes()).is_err());
}
