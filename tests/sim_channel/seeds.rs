//! Many worlds, drawn from their seeds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::plan::Plan;
use crate::world;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_goes_wrong_the_promises_of_a_channel_hold() {
    let (first, count) = (number("SIM_SEED", 1), number("SIM_SEEDS", 200));
    let (next, seeds) = (AtomicU64::new(first), first..first + count);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let mut failed: Vec<(u64, String)> = Vec::new();
    std::thread::scope(|scope| {
        let (done, results) = mpsc::sync_channel(threads);
        for _ in 0..threads {
            let (done, next, seeds) = (done.clone(), &next, &seeds);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| world::run(Plan::draw(seed)).expect_clean(""));
                    let fault = outcome.err().map(|panic| match panic.downcast::<String>() {
                        Ok(text) => *text,
                        Err(_) => "a panic".to_owned(),
                    });
                    done.send((seed, fault)).expect("somebody listens");
                }
            });
        }
        drop(done);
        failed.extend(results.into_iter().filter_map(|(seed, fault)| Some((seed, fault?))));
    });
    failed.sort();
    let list: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    if let Some((seed, fault)) = failed.first() {
        panic!("seeds {list:?} failed; SIM_SEED={seed} SIM_SEEDS=1 runs the first alone{fault}");
    }
}

#[test]
fn a_seed_replays_line_by_line() {
    // One channel: who of several is woken first by a server is up to tokio, which draws its own lots.
    let run = |seed| world::run(Plan::draw(seed).with_one_channel()).log;
    let (first, count) = (number("SIM_SEED", 17), number("SIM_SEEDS", 4).min(20));
    for seed in first..first + count {
        let (first, second) = (run(seed), run(seed));
        for (line, (first, second)) in first.iter().zip(&second).enumerate() {
            assert_eq!(first, second, "seed {seed}, line {line}");
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
    assert_ne!(run(first), run(first + 1), "another seed is another world");
}
