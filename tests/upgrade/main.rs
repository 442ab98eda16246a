//! The binary replaced under load: real processes, one after the other on the same sockets.
//!
//! The processes are this file again, running [`program::the_server`].

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests outside `#[test]` functions, and std stands in for clients"
)]

mod load;
mod program;

use std::collections::BTreeSet;
use std::time::Duration;

use load::Load;
use program::{Mode, Service};

/// Upgrades of the test under load.
const UPGRADES: usize = 5;

/// Between upgrades. A channel whose connection lived for a second connects again at once; to one that ends sooner it is
/// more careful.
const PAUSE: Duration = Duration::from_millis(1200);

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `is_so`.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_upgrades_under_load_fail_no_call_and_refuse_no_connection() {
    let service = Service::start().await;
    let load = Load::start(&service);
    let mut pids = vec![service.pid()];
    load.answered_by(pids[0]).await;
    for _ in 0..UPGRADES {
        tokio::time::sleep(PAUSE).await;
        let old = service.pid();
        service.upgrade();
        let new = service.successor_of(old).await;
        load.answered_by(new).await;
        let ended = service.ended(old).await;
        assert_eq!(ended, "cut 0, exit code 0", "process {old}");
        pids.push(new);
    }
    let seen = load.stop().await;
    assert_eq!(seen.failures, Vec::<String>::new(), "of {} calls", seen.calls);
    assert_eq!(seen.refused, Vec::<String>::new(), "of {} connections", seen.connections);
    assert_eq!(seen.pids, pids.iter().copied().collect::<BTreeSet<_>>());
    assert!(service.unix().exists());
    service.terminate();
    assert_eq!(service.ended(*pids.last().unwrap()).await, "cut 0, exit code 0");
    assert!(!service.unix().exists(), "the last process takes the file along");
}

#[tokio::test]
async fn a_successor_that_ends_at_once_leaves_the_predecessor_serving() {
    let service = Service::start().await;
    let (pid, load) = (service.pid(), Load::start(&service));
    service.be(Mode::Ends);
    service.upgrade();
    until("the failure is counted", || service.metric("handovers_total{result=\"exited\"} 1")).await;
    load.answered_again(pid).await;
    service.be(Mode::Serves);
    service.upgrade();
    let new = service.successor_of(pid).await;
    load.answered_by(new).await;
    let seen = load.stop().await;
    assert_eq!((seen.failures, seen.refused), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_successor_that_is_never_ready_is_killed_and_serves_nobody() {
    let service = Service::start().await;
    let (pid, load) = (service.pid(), Load::start(&service));
    service.be(Mode::NeverReady);
    service.upgrade();
    let hangs = service.successor_of(pid).await;
    until("the failure is counted", || service.metric("handovers_total{result=\"silent\"} 1")).await;
    assert!(!program::runs(hangs), "killed");
    load.answered_again(pid).await;
    let seen = load.stop().await;
    assert_eq!((seen.failures, seen.refused), (Vec::new(), Vec::new()));
    assert_eq!(seen.pids, BTreeSet::from([pid]), "it accepted nothing");
}

#[tokio::test]
async fn a_successor_that_is_told_to_stop_before_its_turn_takes_nothing_along() {
    let service = Service::start().await;
    let (pid, load) = (service.pid(), Load::start(&service));
    load.answered_by(pid).await;
    service.be(Mode::NeverReady);
    service.upgrade();
    let told = service.successor_of(pid).await;
    // Until it hears signals.
    tokio::time::sleep(PAUSE).await;
    service.terminate();
    assert_eq!(service.ended(told).await, "cut 0, exit code 0");
    load.answered_again(pid).await;
    assert!(service.unix().exists(), "clients find the predecessor by it");
    until("the failure is counted", || service.metric("handovers_total{result=\"exited\"} 1")).await;
    let seen = load.stop().await;
    assert_eq!((seen.failures, seen.refused), (Vec::new(), Vec::new()));
    assert_eq!(seen.pids, BTreeSet::from([pid]), "it accepted nothing");
}
