//! What seeds have found, each with the least it takes to find it again.

use std::time::Duration;

use crate::config::{Config, Method, PICK_FIRST, Repeat};
use crate::plan::Plan;
use crate::world;

/// Calls every five milliseconds for as long as the turmoil lasts.
fn busy(seed: u64, config: Config) -> Plan {
    let mut plan = Plan::calm(seed, 1, config);
    plan.load(Duration::from_millis(5), Some(Duration::from_secs(2)));
    plan
}

/// A call that was picked a connection which had just said goodbye looked for another at once, again and again, and the
/// one who knew of another never got its turn.
#[test]
fn seed_26_a_call_that_meets_a_goodbye_lets_others_act() {
    for seed in 1..4 {
        let mut plan = busy(seed, Config::plain());
        plan.age_max = Duration::from_millis(1200);
        let book = world::run(plan);
        book.expect_clean("seed 26");
        assert_eq!(book.failed_at_all(), 0, "seed {seed}");
    }
}

/// Who watched the health of a server that takes one stream at a time left no place for any call.
#[test]
fn seed_3_a_server_that_takes_one_stream_at_a_time_is_called() {
    let mut plan = busy(3, Config::plain());
    plan.streams_max = 1;
    plan.calls.retain(|call| call.id % 10 == 0);
    let book = world::run(plan);
    book.expect_clean("seed 3");
    assert_eq!(book.failed_at_all(), 0);
}

/// Connections that ended politely within ten seconds were waited for longer each time, up to two minutes.
#[test]
fn seed_157_connections_that_end_politely_are_replaced_at_once() {
    let mut plan = busy(157, Config::plain());
    plan.age_max = Duration::from_millis(1500);
    let book = world::run(plan);
    book.expect_clean("seed 157");
    assert_eq!(book.failed_at_all(), 0);
    assert!(book.dials.len() >= 4, "{} connections in five seconds", book.dials.len());
}

/// Calls that wait for the same picture were woken by chance, and not in the order in which they came: a seed did not replay.
#[test]
fn seed_19_calls_that_wait_are_served_in_the_order_in_which_they_came() {
    let hedged = || {
        let mut config = Config::plain();
        config.repeats[Method::Get as usize] = Repeat::Hedge { attempts: 5, delay: Duration::ZERO };
        let mut plan = busy(19, config);
        plan.calls.truncate(10);
        for call in &mut plan.calls {
            call.at = Duration::ZERO;
        }
        plan.healed = Duration::from_millis(500);
        world::run(plan).log
    };
    let (first, second) = (hedged(), hedged());
    assert_eq!(first, second);
    let seen: Vec<&String> = first.iter().filter(|line| line.contains("sees Get 0, attempt")).collect();
    assert!(seen.is_sorted(), "{seen:#?}");
}

/// A call that waits woke the manager of a channel whose policy was idle, the manager published a picture, which woke the
/// call: nothing else had a turn while the endpoint waited for its backoff.
#[test]
fn seed_1427_a_call_that_waits_for_an_idle_policy_lets_time_pass() {
    let mut plan = busy(1427, Config { policy: PICK_FIRST, ..Config::plain() });
    // Polite, but far too often.
    plan.age_max = Duration::from_millis(300);
    world::run(plan).expect_clean("seed 1427");
}
