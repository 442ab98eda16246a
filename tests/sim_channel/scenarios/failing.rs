//! Servers that are there and do not work.

use super::*;
use crate::config::{Config, Method, PEAK_EWMA, ROUND_ROBIN, Repeat};
use crate::plan::{Fault, Mood};

/// The share of attempts in a thousand that go to the slow one of three servers.
fn slow_share(seed: u64, policy: &'static str) -> usize {
    let mut plan = Plan::calm(seed, 3, Config { policy, ..Config::plain() });
    plan.healed = millis(6000);
    plan.load(millis(10), Some(millis(3000)));
    plan.faults = vec![(millis(1000), Fault::Mood(2, Mood::Slow(millis(700))))];
    let book = world::run(plan);
    book.expect_clean(&format!("seed {seed}"));
    assert_eq!(book.failed(millis(0)..millis(6000)).len(), 0, "seed {seed}: slow is not broken");
    let load = book.load(millis(2500)..millis(6000));
    load.get("b2").copied().unwrap_or_default() * 1000 / load.values().sum::<usize>()
}

#[test]
fn peak_ewma_leaves_a_slow_server_alone() {
    for seed in SEEDS {
        let share = slow_share(seed, PEAK_EWMA);
        assert!(share < 30, "seed {seed}: {share} of 1000 calls went to the slow server");
        let share = slow_share(seed, ROUND_ROBIN);
        assert!(share > 300, "seed {seed}: round robin does not care, {share}");
    }
}

#[test]
fn a_server_whose_health_flaps_costs_no_call() {
    let plan = |seed| {
        let mut plan = Plan::calm(seed, 3, Config { health: Some("shop.v1.Shop"), ..Config::plain() });
        plan.load(millis(10), Some(millis(500)));
        plan.faults = (0..20).map(|n| (millis(500 + 150 * n), Fault::Health(1, n % 2 == 1))).collect();
        plan.faults.push((millis(3500), Fault::Health(1, false)));
        plan
    };
    each(plan, |seed, book| {
        assert_eq!(book.failed(millis(0)..millis(5000)).len(), 0, "seed {seed}");
        assert!(
            book.load(millis(1000)..millis(3500)).contains_key("b1"),
            "seed {seed}: it is used in between"
        );
        assert!(
            !book.load(millis(3600)..millis(5000)).contains_key("b1"),
            "seed {seed}: not while it says no"
        );
    });
}

#[test]
fn a_retry_storm_is_bounded_by_the_throttle() {
    let (tokens, ratio) = (10, 0.1);
    let plan = |seed| {
        let mut config = Config { throttle: (tokens, ratio), ..Config::plain() };
        config.repeats[Method::Get as usize] = Repeat::Retry { attempts: 5, timeout: None };
        let mut plan = Plan::calm(seed, 3, config);
        plan.load(millis(10), Some(millis(1000)));
        let sick = |host| (millis(1000), Fault::Mood(host, Mood::Failing(Code::Unavailable, 100)));
        let well = |host| (millis(4000), Fault::Mood(host, Mood::Well));
        plan.faults = (0..3).map(sick).chain((0..3).map(well)).collect();
        plan
    };
    each(plan, |seed, book| {
        let (calls, attempts) = (
            book.begun(millis(1050)..millis(4000)).count(),
            book.load(millis(1050)..millis(4000)).values().sum::<usize>(),
        );
        // Half of the tokens and what the calls before have earned, which is never more than all of them.
        assert!(
            attempts <= calls + tokens as usize / 2,
            "seed {seed}: {attempts} attempts for {calls} calls"
        );
        assert!(attempts > calls / 2, "seed {seed}: {attempts} attempts for {calls} calls");
        assert_eq!(book.failed(millis(0)..millis(900)).len(), 0, "seed {seed}: before");
    });
}
