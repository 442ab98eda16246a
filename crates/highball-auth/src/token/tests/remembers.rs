//! The memory of verified tokens, with a clock that is moved.

use std::time::Duration;

use highball_net::Tasks;

use crate::Reason;
use crate::testing::{Clock, NOW, Script, claims, jwks, pair, signer, verifier};
use crate::token::{Algorithm, Shown};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_remembered_token_never_outlives_its_expiry() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(Some(jwks(&[&pair(Algorithm::Es256).jwk])), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let token = signer(Algorithm::Es256).sign(&claims()).unwrap();
    let expires = NOW + 3_600;
    for _ in 0..3 {
        assert!(verifier.verify(token.as_bytes()).await.is_ok());
    }
    assert_eq!((verifier.cache().hits, verifier.cache().misses), (2, 1));
    clock.set(expires - 1);
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
    assert_eq!(verifier.cache().hits, 3);
    // Within the leeway it is verified each time; then it is over.
    clock.set(expires + 59);
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
    assert_eq!((verifier.cache().hits, verifier.cache().misses), (3, 3));
    clock.set(expires + 60);
    assert_eq!(verifier.verify(token.as_bytes()).await, Err(Reason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_remembered() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(Some(jwks(&[&pair(Algorithm::Es256).jwk])), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let token = signer(Algorithm::Es256).sign(&claims()).unwrap();
    clock.set(NOW + 10_000);
    assert_eq!(verifier.verify(token.as_bytes()).await, Err(Reason::Expired));
    assert_eq!(verifier.cache().entries, 0);
    clock.set(NOW);
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_takes_its_tokens_along() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let (old, new) = (pair(Algorithm::Es256).jwk, pair(Algorithm::EdDsa).jwk);
    let script = Script::new(Some(jwks(&[&old])), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let token = signer(Algorithm::Es256).sign(&claims()).unwrap();
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
    // A key that comes spoils nothing.
    script.set(Some(jwks(&[&old, &new])));
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(verifier.keys().keys, 2);
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
    assert_eq!(verifier.cache().hits, 1);
    script.set(Some(jwks(&[&new])));
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(verifier.verify(token.as_bytes()).await, Err(Reason::UnknownKey));
    // Back again: the old memory stays forgotten, the token is verified anew.
    script.set(Some(jwks(&[&old, &new])));
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
    assert_eq!(verifier.cache().hits, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_changes_under_its_name_takes_its_tokens_along() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let named = |algorithm| {
        let mut jwk: serde_json::Value =
            serde_json::from_str(&crate::token::generate(algorithm).unwrap().jwk).unwrap();
        jwk["kid"] = "k".into();
        jwk.to_string()
    };
    let mut first: serde_json::Value = serde_json::from_str(&pair(Algorithm::Es256).jwk).unwrap();
    first["kid"] = "k".into();
    let script = Script::new(Some(jwks(&[&first.to_string()])), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let token = signer(Algorithm::Es256).with_kid("k").sign(&claims()).unwrap();
    assert!(verifier.verify(token.as_bytes()).await.is_ok());
    script.set(Some(jwks(&[&named(Algorithm::Es256)])));
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(verifier.verify(token.as_bytes()).await, Err(Reason::BadSignature));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_shown_again_is_known_until_it_ends_or_its_key_goes() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let (old, new) = (pair(Algorithm::Es256).jwk, pair(Algorithm::EdDsa).jwk);
    let script = Script::new(Some(jwks(&[&old, &new])), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let token = signer(Algorithm::Es256).sign(&claims()).unwrap();
    let shown = Shown::new();
    let show = async |token: &str| verifier.verify_shown(token.as_bytes(), &shown, Instant::now()).await;
    let looked_up = || verifier.cache().hits + verifier.cache().misses;
    for _ in 0..3 {
        assert_eq!(show(&token).await.unwrap().subject, "ann");
    }
    assert_eq!(looked_up(), 1);
    // Neither another token nor one that begins the same is known by it.
    let other = signer(Algorithm::EdDsa).sign(&claims()).unwrap();
    assert!(show(&other).await.is_ok() && show(&token).await.is_ok());
    assert_eq!(looked_up(), 3);
    assert!(show(token.split_at(token.len() - 1).0).await.is_err());
    // Half a second before its end it is known for half a second.
    tokio::time::advance(Duration::from_secs(2)).await;
    clock.set(NOW + 3_600 - 1);
    assert!(show(&token).await.is_ok());
    clock.set(NOW + 3_600 + 60);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(show(&token).await, Err(Reason::Expired));
    // A key that goes takes its tokens along, however lately they were shown.
    clock.set(NOW);
    assert!(show(&token).await.is_ok());
    script.set(Some(jwks(&[&new])));
    while verifier.keys().keys > 1 {
        assert!(show(&token).await.is_ok());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(show(&token).await, Err(Reason::UnknownKey));
}
