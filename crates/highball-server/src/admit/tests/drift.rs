//! Services whose latency changes for other reasons than load.

use std::time::Duration;

use super::world::*;

fn calls(per_second: f64, work: Duration) -> Load {
    Load { lane: GET, per_second, work }
}

/// No end of workers: latency is what it is.
const ENDLESS: usize = 1_000_000;

#[test]
fn a_service_that_became_slower_is_measured_again_and_gets_its_concurrency_back() {
    for seed in 10..14 {
        let mut world = World::new(&adaptive(), ENDLESS, seed);
        world.noisy = true;
        // Long enough that the next measurement is a minute away.
        world.run(60 * SECOND, calls(300.0, 50 * MS));
        world.run(10 * SECOND, calls(2000.0, 50 * MS));
        // The database behind it moved away. 300 at once are needed now.
        world.run(25 * SECOND, calls(2000.0, 150 * MS));
        let tally = world.run(5 * SECOND, calls(2000.0, 150 * MS));
        assert!(tally.refused < 200, "seed {seed}: {} of 10,000 were refused", tally.refused);
        let known = world.baseline(GET).unwrap();
        assert!(known > 60 * MS, "seed {seed}: {known:?}");
    }
}

#[test]
fn latency_without_load_is_measured_each_interval_and_costs_nothing_while_half_of_the_limit_is_free() {
    let mut world = World::new(&adaptive(), ENDLESS, 20);
    world.run(10 * SECOND, calls(100.0, 10 * MS));
    let first = world.baseline(GET).unwrap();
    assert!(first.abs_diff(10 * MS) < MS, "{first:?}");
    let tally = world.run(80 * SECOND, calls(100.0, 14 * MS));
    let second = world.baseline(GET).unwrap();
    assert!(second.abs_diff(14 * MS) < MS, "{second:?}");
    assert_eq!((tally.refused, tally.limits), (0, (20, 20)));
    assert!(!world.admission.telemetry.render().contains("concurrency_probes_total{"));
}

#[test]
fn a_measurement_under_load_is_corrected_by_the_next_ones() {
    // A storm from the first moment: the first measurement sees ten RPCs before four workers.
    let mut world = World::new(&adaptive(), 4, 21);
    world.run(2 * SECOND, calls(1200.0, 10 * MS));
    let first = world.baseline(GET).unwrap();
    assert!(first > 20 * MS, "{first:?}");
    world.run(60 * SECOND, calls(1200.0, 10 * MS));
    let last = world.baseline(GET).unwrap();
    assert!(last < 14 * MS, "{last:?}");
    assert!(world.limit() <= 12, "{} for four workers", world.limit());
}

#[test]
fn a_change_of_the_mix_is_not_taken_for_load() {
    let mut world = World::new(&adaptive(), ENDLESS, 22);
    world.noisy = true;
    let loads = |quick: f64, slow: f64| {
        [(GET, quick, 2 * MS), (LIST, slow, 50 * MS)].map(|(lane, per_second, work)| Load {
            lane,
            per_second,
            work,
        })
    };
    world.run_all(20 * SECOND, &loads(3000.0, 1000.0));
    let before = world.limit();
    let tallies = world.run_all(20 * SECOND, &loads(300.0, 1300.0));
    let lowest = tallies.iter().map(|tally| tally.limits.0).min().unwrap();
    assert!(lowest * 3 > before, "{before}, then as low as {lowest}");
    let refused: u32 = tallies.iter().map(|tally| tally.refused).sum();
    assert!(refused < 320, "{refused} of 32,000 were refused");
}

#[test]
fn a_seed_replays_a_run() {
    let run = |seed| {
        let mut world = World::new(&adaptive(), 20, seed);
        world.noisy = true;
        let tally = world.run(20 * SECOND, calls(4000.0, 10 * MS));
        (tally.latencies, tally.refused, world.limit())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
