//! One permit at a time.

use highball_core::Code;
use tokio::time::Instant;

use super::world::*;
use crate::Settings;
use crate::admit::{Admission, Priority};

fn one(settings: &Settings) -> Admission {
    admission(settings, Seed::new(1))
}

/// How many of a priority get a place beside those that hold one.
fn room(admission: &Admission, priority: Priority) -> usize {
    let held: Vec<_> = std::iter::from_fn(|| admission.admit(lane(priority, Some(0))).ok()).collect();
    held.len()
}

#[test]
fn one_too_many_is_refused_with_when_to_come_back_and_a_returned_permit_is_given_again() {
    let admission = one(&fixed(1));
    let held = admission.admit(GET).unwrap();
    let refused = admission.admit(GET).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("limit of 1 concurrent RPCs (concurrent_rpcs_max)"), "{refused}");
    let back = refused.retry_after().unwrap();
    assert!((500 * MS..=1500 * MS).contains(&back), "{back:?}");
    let again = admission.admit(GET).unwrap_err();
    assert_ne!(again.retry_after(), Some(back), "all at once, they would be refused again");
    drop(held);
    assert!(admission.admit(GET).is_ok());
}

#[test]
fn as_a_server_fills_the_lowest_priority_is_refused_first() {
    let adaptive = {
        let mut own = adaptive();
        own.adaptive_concurrency.iter_mut().for_each(|own| own.limit_initial = 100);
        own
    };
    for (settings, names) in [(fixed(100), "concurrent_rpcs_max"), (adaptive, "adaptive_concurrency")] {
        let admission = one(&with_critical(settings));
        let places =
            [Priority::Sheddable, Priority::Normal, Priority::Critical].map(|of| room(&admission, of));
        assert_eq!(places, [70, 90, 100], "{names}");
        let normal: Vec<_> = (0..90).map(|_| admission.admit(GET).unwrap()).collect();
        let refused = admission.admit(GET).unwrap_err();
        for part in ["normal", "90", "100", "methods.priority", names] {
            assert!(refused.message().contains(part), "{part}: {refused}");
        }
        assert_eq!(room(&admission, Priority::Sheddable), 0);
        assert_eq!(room(&admission, Priority::Critical), 10);
        drop(normal);
        assert_eq!(room(&admission, Priority::Critical), 100, "{names}: every place came back");
    }
}

#[test]
fn streams_are_not_counted_by_the_adaptive_limit_nor_unary_rpcs_twice() {
    let admission = one(&adaptive());
    let stream = lane(Priority::Normal, None);
    let streams: Vec<_> = (0..500).map(|_| admission.admit(stream).unwrap()).collect();
    assert_eq!(room(&admission, Priority::Normal), 20);
    let page = admission.telemetry.render();
    for line in [
        "concurrency_in_flight{limit=\"adaptive_concurrency\"} 0",
        "concurrency_in_flight{limit=\"concurrent_rpcs\"} 500",
        "concurrency_limit{limit=\"adaptive_concurrency\"} 20",
        "concurrency_limit{limit=\"concurrent_rpcs\"} 10000",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    drop(streams);
}

#[test]
fn only_what_tells_of_load_is_sampled() {
    let admission = one(&adaptive());
    let adaptive = admission.adaptive.as_ref().unwrap();
    let method = &adaptive.methods[0];
    let now = Instant::now();
    let sampled = |lane, code, took, deadline| {
        // A cohort of one, which is over when its RPC counts.
        method.cohort.open(1);
        admission.admit(lane).unwrap().end(&rpc(now, deadline), code, took);
        method.cohort.take(50, now);
        (method.window.take(50).1, method.cohort.take(50, now + took).is_some())
    };
    let stream = lane(Priority::Normal, None);
    let second = Some(SECOND);
    method.set_baseline(10 * MS);
    for (what, lane, code, took, deadline, want) in [
        ("a success", GET, Code::Ok, 10 * MS, second, (1, true)),
        ("a stream", stream, Code::Ok, 3600 * SECOND, None, (0, false)),
        ("a failure", GET, Code::NotFound, MS, second, (0, false)),
        ("an overload behind it", GET, Code::Unavailable, MS, second, (0, false)),
        ("a caller who left", GET, Code::Cancelled, 200 * MS, second, (0, false)),
        ("a caller who left without a deadline", GET, Code::Cancelled, SECOND, None, (0, false)),
        ("a caller whose clock ran out before ours", GET, Code::Cancelled, 990 * MS, second, (1, false)),
        ("a deadline", GET, Code::DeadlineExceeded, SECOND, second, (1, false)),
        ("a deadline that nobody could keep", GET, Code::DeadlineExceeded, MS, Some(MS), (0, false)),
    ] {
        assert_eq!(sampled(lane, code, took, deadline), want, "{what}");
    }
    drop(admission.admit(GET));
    assert_eq!(adaptive.occupancy().in_flight, 0, "a permit that is dropped is given back too");
}

#[test]
fn threads_that_race_for_the_last_places_never_get_more_than_there_are() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let mut settings = adaptive();
    settings.concurrent_rpcs_max = 25;
    let admission = one(&settings);
    let stream = lane(Priority::Normal, None);
    for (lane, places) in [(GET, 20), (stream, 25)] {
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let permits: Vec<_> = (0..5).filter_map(|_| admission.admit(lane).ok()).collect();
                        let now = held.fetch_add(permits.len(), Ordering::SeqCst) + permits.len();
                        most.fetch_max(now, Ordering::SeqCst);
                        held.fetch_sub(permits.len(), Ordering::SeqCst);
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!(most <= places, "{most} of {places} places");
        assert_eq!(room(&admission, Priority::Normal).min(20), 20, "all came back");
    }
}
