//! How a JWKS is followed: pace, outages, storms.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use highball_net::Tasks;

use crate::Reason;
use crate::testing::{Clock, Script, claims, jwks, pair, signer, verifier};
use crate::token::{Algorithm, KeysEvent};

fn document() -> Option<String> {
    Some(jwks(&[&pair(Algorithm::Es256).jwk]))
}

fn token(algorithm: Algorithm) -> Vec<u8> {
    signer(algorithm).sign(&claims()).unwrap().into_bytes()
}

#[tokio::test(start_paused = true)]
async fn an_outage_goes_unnoticed_until_the_bound_on_staleness() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let token = token(Algorithm::Es256);
    assert!(verifier.verify(&token).await.is_ok());
    script.set(None);
    tokio::time::sleep(Duration::from_secs(3_599)).await;
    assert!(verifier.verify(&token).await.is_ok(), "within the bound");
    let report = verifier.keys();
    assert!(report.usable && report.failures > 0);
    assert_eq!(report.error.as_deref(), Some("outage"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Also what is remembered.
    assert_eq!(verifier.verify(&token).await, Err(Reason::KeysUnavailable));
    assert!(!verifier.keys().usable);
    script.set(document());
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(verifier.verify(&token).await.is_ok(), "as soon as it is read again");
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_unknown_keys_is_one_fetch_per_interval() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::from_millis(100));
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    assert_eq!(script.fetches(), 1);
    let unknown = token(Algorithm::EdDsa);
    let storm = || async { join_all((0..100).map(|_| verifier.verify(&unknown))).await };
    // Right after the start: too early for another one, and nobody waits for it.
    let before = tokio::time::Instant::now();
    assert!(storm().await.iter().all(|outcome| *outcome == Err(Reason::UnknownKey)));
    assert_eq!((script.fetches(), before.elapsed()), (1, Duration::ZERO));
    for fetches in 2..5 {
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(storm().await.iter().all(|outcome| *outcome == Err(Reason::UnknownKey)));
        assert!(storm().await.iter().all(|outcome| *outcome == Err(Reason::UnknownKey)));
        assert_eq!(script.fetches(), fetches);
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_by_the_first_token_it_signs() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::from_millis(100));
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    script.set(Some(jwks(&[&pair(Algorithm::Es256).jwk, &pair(Algorithm::EdDsa).jwk])));
    tokio::time::sleep(Duration::from_secs(31)).await;
    let token = token(Algorithm::EdDsa);
    let outcomes = join_all((0..10).map(|_| verifier.verify(&token))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_does_not_stop_the_refresh_for_the_others() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::from_millis(100));
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    script.set(Some(jwks(&[&pair(Algorithm::EdDsa).jwk])));
    tokio::time::sleep(Duration::from_secs(31)).await;
    let token = token(Algorithm::EdDsa);
    let hung_up = tokio::time::timeout(Duration::from_millis(50), verifier.verify(&token)).await;
    assert!(hung_up.is_err());
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up_after_its_timeout() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::from_secs(60));
    let before = tokio::time::Instant::now();
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    assert_eq!(before.elapsed(), Duration::from_secs(5));
    let report = verifier.keys();
    assert_eq!((report.usable, report.failures), (false, 1));
    assert_eq!(report.error.as_deref(), Some("the script did not answer within 5s"));
    assert_eq!(verifier.verify(&token(Algorithm::Es256)).await, Err(Reason::KeysUnavailable));
}

#[tokio::test(start_paused = true)]
async fn a_document_beyond_its_bounds_keeps_the_keys() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    for bad in
        [" ".repeat((256 << 10) + 1), jwks(&vec![pair(Algorithm::Es256).jwk.as_str(); 65]), "<html>".into()]
    {
        script.set(Some(bad));
        tokio::time::sleep(Duration::from_secs(700)).await;
        assert!(verifier.keys().error.is_some());
        assert!(verifier.verify(&token(Algorithm::Es256)).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_document_withdraws_every_key() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let token = token(Algorithm::Es256);
    assert!(verifier.verify(&token).await.is_ok());
    script.set(Some(jwks(&[])));
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(verifier.verify(&token).await, Err(Reason::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn without_the_owner_of_its_task_a_verifier_accepts_nothing_in_the_end() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    drop(tasks);
    let token = token(Algorithm::Es256);
    assert!(verifier.verify(&token).await.is_ok());
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    // It must not wait for a refresh that nobody runs.
    assert_eq!(verifier.verify(&token).await, Err(Reason::KeysUnavailable));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_verifier() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::ZERO);
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    assert_eq!(tasks.running(), 1);
    drop(verifier);
    tasks.finished().await;
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_the_keys_is_told() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::ZERO);
    let told = Mutex::new(Vec::new());
    let report = |event: &KeysEvent<'_>| {
        told.lock().unwrap().push(match event {
            KeysEvent::Refreshed { keys, skipped, removed, .. } => format!("{keys} {skipped} {removed}"),
            KeysEvent::RefreshFailed { error, stale, .. } => format!("{error} {stale}"),
        });
    };
    let verifier = verifier(&script, &clock, tasks.spawner()).await;
    let happens = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        script.set(None);
        tokio::time::sleep(Duration::from_secs(601)).await;
        script.set(Some(jwks(&[])));
        tokio::time::sleep(Duration::from_secs(31)).await;
    };
    tokio::select! {
        () = verifier.watch_keys(report) => {}
        () = happens => {}
    }
    assert_eq!(*told.lock().unwrap(), ["1 0 false", "outage false", "0 0 true"]);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_fresh_for_less_is_read_sooner_and_never_later() {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document(), Duration::ZERO);
    script.be_fresh_for(Duration::from_secs(60));
    let _verifier = verifier(&script, &clock, tasks.spawner()).await;
    let reads_in = async |seconds| {
        let before = script.fetches();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        script.fetches() - before
    };
    assert_eq!(reads_in(601).await, 10);
    script.be_fresh_for(Duration::ZERO);
    reads_in(60).await;
    assert_eq!(reads_in(601).await, 20, "at least refresh_interval_min apart");
    script.be_fresh_for(Duration::from_secs(86_400));
    reads_in(60).await;
    assert_eq!(reads_in(1202).await, 2, "refresh_interval holds");
}
