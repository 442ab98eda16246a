//! More than the service can bear.

use super::world::*;
use crate::admit::Priority;
use crate::{AdaptiveConcurrency, Settings};

/// 20 workers of 10 ms: 2,000 RPCs a second.
const CAPACITY: f64 = 2000.0;

fn calls(per_second: f64) -> Load {
    Load { lane: GET, per_second, work: 10 * MS }
}

/// Five times as long, for services with many workers.
fn long_calls(per_second: f64) -> Load {
    Load { lane: GET, per_second, work: 50 * MS }
}

#[test]
fn three_times_the_capacity_is_served_at_capacity_and_quickly() {
    for (seed, noisy) in [(1, false), (2, true), (3, true)] {
        let mut world = World::new(&adaptive(), 20, seed);
        world.noisy = noisy;
        world.run(SECOND, calls(3.0 * CAPACITY));
        let tally = world.run(10 * SECOND, calls(3.0 * CAPACITY));
        let good = tally.good(100 * MS);
        let (half, most) = (tally.percentile(50), tally.percentile(99));
        assert!(good > 18_500, "seed {seed}: {good} of 20,000 were in time");
        assert!(half < 25 * MS && most < 90 * MS, "seed {seed}: half took {half:?}, 99 % {most:?}");
        assert!(tally.refused > 35_000, "seed {seed}: {} of 60,000 were refused", tally.refused);
    }
}

#[test]
fn three_times_the_capacity_under_a_fixed_limit_of_10_000_serves_nobody_in_time() {
    let mut world = World::new(&fixed(10_000), 20, 1);
    world.run(5 * SECOND, calls(3.0 * CAPACITY));
    let tally = world.run(5 * SECOND, calls(3.0 * CAPACITY));
    let quickest = tally.percentile(0);
    assert!(tally.good(100 * MS) == 0 && quickest > 3 * SECOND, "the quickest took {quickest:?}");
}

#[test]
fn a_server_at_ease_refuses_next_to_nothing_and_its_limit_leaves_room_for_a_burst() {
    let mut world = World::new(&adaptive(), 1000, 4);
    world.noisy = true;
    let mut refused = 0;
    // Up to 150 at once, slowly: the limit needs a moment to grow.
    for step in 1..=15 {
        refused += world.run(2 * SECOND, long_calls(200.0 * f64::from(step))).refused;
    }
    assert!(refused < 50, "{refused} of 48,000 were refused");
    let tally = world.run(130 * SECOND, long_calls(3000.0));
    assert!(tally.refused < 400, "{} of 390,000 were refused", tally.refused);
    assert!(world.limit() >= 200, "the limit is {}", world.limit());
}

#[test]
fn the_limit_falls_with_the_capacity_and_rises_with_it() {
    let mut world = World::new(&adaptive(), 400, 5);
    world.run(10 * SECOND, long_calls(4000.0));
    let before = world.limit();
    assert!(before > 200, "{before}");
    world.workers = 20;
    world.run(15 * SECOND, long_calls(4000.0));
    let starved = world.limit();
    assert!((15..50).contains(&starved), "{starved} for 20 workers");
    world.workers = 400;
    world.run(3 * SECOND, long_calls(4000.0));
    assert!(world.limit() > 200, "{} after the workers came back", world.limit());
    let tally = world.run(5 * SECOND, long_calls(4000.0));
    assert!(tally.refused < 100, "{} of 20,000 were refused", tally.refused);
}

#[test]
fn the_limit_stays_between_its_bounds_whatever_happens() {
    for seed in 0..10 {
        let own =
            AdaptiveConcurrency { limit_min: 5, limit_initial: 10, limit_max: 40, ..Default::default() };
        let settings = Settings { adaptive_concurrency: Some(own), ..Settings::default() };
        let mut world = World::new(&settings, 20, seed);
        let (mut low, mut high) = (u64::MAX, 0);
        for _ in 0..10 {
            world.workers = 1 + (world.seed.uniform() * 100.0) as usize;
            world.noisy = world.seed.uniform() < 0.5;
            let rate = 50.0 + world.seed.uniform() * 2000.0;
            let tally = world.run(3 * SECOND, long_calls(rate));
            (low, high) = (low.min(tally.limits.0), high.max(tally.limits.1));
        }
        assert!(low >= 5 && high <= 40, "seed {seed}: {low} to {high}");
        assert!(low < high, "seed {seed}: it never moved");
    }
}

#[test]
fn under_a_storm_of_batches_what_matters_still_passes() {
    let mut world = World::new(&with_critical(adaptive()), 20, 6);
    let load = |priority, unary, share: f64| Load {
        lane: lane(priority, Some(unary)),
        per_second: share * CAPACITY,
        work: 10 * MS,
    };
    let loads = [load(Priority::Sheddable, 0, 3.0), load(Priority::Critical, 1, 0.5)];
    world.run_all(2 * SECOND, &loads);
    let [batch, pay] = <[Tally; 2]>::try_from(world.run_all(10 * SECOND, &loads)).unwrap();
    assert!(pay.refused < 100, "{} of 10,000 were refused", pay.refused);
    assert!(batch.latencies.len() > 7_000, "{} batches passed", batch.latencies.len());
}

#[test]
fn when_every_rpc_runs_into_one_deadline_the_limit_falls() {
    let mut world = World::new(&adaptive(), 200, 7);
    world.run(10 * SECOND, long_calls(3000.0));
    let before = world.limit();
    // The service all but hangs: RPCs take exactly their deadline, which looks like perfectly even latency.
    (world.workers, world.deadline) = (1, Some(500 * MS));
    world.run(30 * SECOND, long_calls(3000.0));
    assert!(world.limit() < before / 10, "{before}, then {}", world.limit());
    let known = world.baseline(GET).unwrap();
    assert!(known < 250 * MS, "the deadline became the measure: {known:?}");
}

#[test]
fn a_probe_takes_at_most_half_of_the_limit_and_little_time() {
    let mut world = World::new(&adaptive(), 100, 8);
    world.run(5 * SECOND, long_calls(4000.0));
    let settled = world.limit();
    let tally = world.run(90 * SECOND, long_calls(4000.0));
    assert!(tally.limits.0 >= settled * 4 / 10, "{settled}, then {:?}", tally.limits);
    let probes = world.admission.telemetry.render();
    assert!(probes.contains("concurrency_probes_total{result=\"measured\"}"), "{probes}");
    let good = tally.good(200 * MS);
    assert!(good > 178_000, "{good} of 180,000 in spite of the probes");
}
