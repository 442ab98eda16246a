//! Changes that are made on purpose.

use super::*;
use crate::config::{Config, Method, Repeat};
use crate::plan::Fault;

/// One server after the other drains, goes and comes back.
fn rolling_restart(seed: u64, repeat: Repeat) -> Plan {
    let mut config = Config::plain();
    config.repeats[Method::Get as usize] = repeat;
    let mut plan = Plan::calm(seed, 3, config);
    plan.healed = millis(7000);
    plan.load(millis(10), Some(millis(1000)));
    plan.faults = (0..3).map(|n| (millis(500 + 2000 * n), Fault::Restart(n as usize, millis(500)))).collect();
    plan
}

fn nobody_notices(seed: u64, book: &Book) {
    assert_eq!(book.failed(millis(0)..millis(7000)).len(), 0, "seed {seed}");
    let drained: Vec<_> = book.log.iter().filter(|line| line.contains("has drained")).collect();
    assert_eq!(drained.len(), 3, "seed {seed}");
    assert!(drained.iter().all(|line| line.contains(" 0 cut")), "seed {seed}: {drained:?}");
    // One is away for half a second, beside its lame duck.
    let load = book.load(millis(0)..millis(7000));
    assert!(load.values().all(|count| *count > 100), "seed {seed}: {load:?}");
}

#[test]
fn a_rolling_restart_fails_no_call_with_a_retry_policy() {
    each(|seed| rolling_restart(seed, Repeat::Retry { attempts: 3, timeout: None }), nobody_notices);
}

#[test]
fn a_rolling_restart_fails_no_call_without_a_policy_either() {
    each(
        |seed| rolling_restart(seed, Repeat::Never),
        |seed, book| {
            nobody_notices(seed, book);
            assert!(book.seen.values().all(|seen| seen.len() == 1), "seed {seed}: and none is seen twice");
        },
    );
}

#[test]
fn connections_that_grow_old_fail_no_call() {
    let plan = |seed| {
        let mut plan = Plan::calm(seed, 2, Config::plain());
        plan.age_max = millis(1200);
        plan.load(millis(5), Some(millis(1000)));
        plan
    };
    each(plan, |seed, book| {
        assert_eq!(book.failed(millis(0)..millis(5000)).len(), 0, "seed {seed}");
        assert!(book.dials.len() >= 8, "seed {seed}: {} connections", book.dials.len());
    });
}

#[test]
fn calls_follow_the_name_to_other_servers() {
    let plan = |seed| {
        let mut plan = Plan::calm(seed, 4, Config::plain());
        plan.named = vec![0, 1];
        plan.load(millis(10), Some(millis(500)));
        // What is no longer named may go away a moment later.
        plan.faults = vec![
            (millis(1000), Fault::Names(vec![2, 3])),
            (millis(2600), Fault::Crash(0)),
            (millis(2600), Fault::Crash(1)),
            (millis(3000), Fault::NoNames),
        ];
        plan
    };
    each(plan, |seed, book| {
        assert_eq!(book.failed(millis(0)..millis(5000)).len(), 0, "seed {seed}");
        let before: Vec<_> = book.load(millis(0)..millis(1000)).into_keys().collect();
        assert_eq!(before, ["b0", "b1"], "seed {seed}");
        let after: Vec<_> = book.load(millis(2500)..millis(5000)).into_keys().collect();
        assert_eq!(after, ["b2", "b3"], "seed {seed}");
    });
}
