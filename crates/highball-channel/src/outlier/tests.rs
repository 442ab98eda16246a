//! The tables of gRFC A50, and that no more is ejected than may be.

use highball_core::Code;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::balancer::load::{Active, Outcome, Tuning};
use crate::balancer::tests::{backend, ready, set};
use crate::service_config::balancing::{FailurePercentage, SuccessRate};

fn off() -> OutlierConfig {
    OutlierConfig { consecutive_failures: None, max_ejection_percent: 100, ..OutlierConfig::default_on() }
}

fn by_rate() -> OutlierConfig {
    let rate = SuccessRate {
        stdev_factor: 1900,
        enforcement_percentage: 100,
        minimum_hosts: 5,
        request_volume: 100,
    };
    OutlierConfig { success_rate: Some(rate), ..off() }
}

fn by_percentage() -> OutlierConfig {
    let percentage = FailurePercentage {
        threshold: 85,
        enforcement_percentage: 100,
        minimum_hosts: 5,
        request_volume: 50,
    };
    OutlierConfig { failure_percentage: Some(percentage), ..off() }
}

fn calls(backend: &Arc<Backend>, code: Code, count: u32) {
    for _ in 0..count {
        let active = Active::begin(Arc::clone(backend), Instant::now());
        active.finish(&Outcome { code, orca: None, pushback: None }, Instant::now());
    }
}

/// One interval with so many successes and failures of each.
fn interval(detector: &mut Detector, backends: &[Arc<Backend>], counts: &[(u32, u32)]) -> Vec<String> {
    for (backend, (successes, failures)) in backends.iter().zip(counts) {
        calls(backend, Code::Ok, *successes);
        calls(backend, Code::Internal, *failures);
    }
    let changes = detector.tick(Instant::now(), backends, || 0);
    apply(changes, backends)
}

/// Does what the manager does; tells it in short.
fn apply(changes: Vec<Change>, backends: &[Arc<Backend>]) -> Vec<String> {
    let place = |wanted: &Arc<Backend>| backends.iter().position(|backend| Arc::ptr_eq(backend, wanted));
    let told = changes.into_iter().map(|change| {
        let text = format!("{:?}: {}", place(&change.backend), change.ejected.as_deref().unwrap_or("back"));
        change.backend.eject(change.ejected);
        text.replace("Some(", "").replace(')', "")
    });
    told.collect()
}

#[tokio::test(start_paused = true)]
async fn a_backend_far_below_the_mean_is_ejected() {
    let check = |counts: &[(u32, u32)], want: &[&str]| {
        let backends = ready(counts.len() as u8);
        assert_eq!(interval(&mut Detector::new(by_rate()), &backends, counts), want, "{counts:?}");
    };
    // Mean 0.833, deviation 0.186, required 0.479.
    let low = ["5: 41 % of calls succeeded, far below the mean; out for 30 s"];
    check(&[(100, 0), (100, 0), (90, 10), (90, 10), (80, 20), (41, 59)], &low);
    // The same rates of which one has too few calls: four hosts are too few to compare.
    check(&[(100, 0), (100, 0), (9, 1), (9, 1), (80, 20), (41, 59)], &[]);
    // Two of them are not outliers: mean 0.914, deviation 0.136, required 0.657.
    check(&[(100, 0), (100, 0), (100, 0), (100, 0), (100, 0), (70, 30), (70, 30)], &[]);
    // All alike, however bad.
    check(&[(10, 90); 6], &[]);
    check(&[(100, 0); 6], &[]);
    check(&[(0, 0); 6], &[]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_with_too_many_failures_is_ejected() {
    let check = |counts: &[(u32, u32)], want: &[&str]| {
        let backends = ready(counts.len() as u8);
        assert_eq!(interval(&mut Detector::new(by_percentage()), &backends, counts), want, "{counts:?}");
    };
    let all_well = [(50, 0); 4];
    let with = |last| [all_well.to_vec(), vec![last]].concat();
    check(&with((7, 43)), &["4: 86 % of calls failed; out for 30 s"]);
    // Not more than the threshold; too few calls; too few hosts.
    check(&with((15, 85)), &[]);
    check(&with((0, 49)), &[]);
    check(&with((0, 50))[1..], &[]);
    // Others need no calls for it.
    check(&[(0, 0), (0, 0), (0, 0), (0, 0), (0, 50)], &["4: 100 % of calls failed; out for 30 s"]);
}

#[tokio::test(start_paused = true)]
async fn counts_begin_anew_with_each_interval() {
    let backends = ready(5);
    let mut detector = Detector::new(by_percentage());
    assert!(interval(&mut detector, &backends, &[(0, 30)]).is_empty());
    assert!(interval(&mut detector, &backends, &[(0, 30)]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_ejection_is_longer_and_good_behaviour_makes_it_shorter() {
    let backends = ready(5);
    let mut detector = Detector::new(by_percentage());
    let fail: &[_] = &[(0, 50)];
    // Out for one, two, three times the base; back at the first tick after it.
    for times in 1..=3_u64 {
        let ejected = interval(&mut detector, &backends, fail);
        assert_eq!(ejected, [format!("0: 100 % of calls failed; out for {} s", times * 30)]);
        advance(Duration::from_secs(times * 30)).await;
        assert!(interval(&mut detector, &backends, &[]).is_empty(), "not a moment early");
        advance(Duration::from_millis(1)).await;
        assert_eq!(interval(&mut detector, &backends, &[]), ["0: back"]);
    }
    // Two quiet intervals take two away from three.
    assert!(interval(&mut detector, &backends, &[]).is_empty());
    assert!(interval(&mut detector, &backends, &[]).is_empty());
    assert_eq!(interval(&mut detector, &backends, fail), ["0: 100 % of calls failed; out for 60 s"]);
}

#[tokio::test(start_paused = true)]
async fn no_ejection_is_longer_than_the_longest() {
    let backends = ready(5);
    let max = Duration::from_secs(45);
    let mut detector = Detector::new(OutlierConfig { max_ejection_time: max, ..by_percentage() });
    for want in [30, 45, 45] {
        let told = interval(&mut detector, &backends, &[(0, 50)]);
        assert_eq!(told, [format!("0: 100 % of calls failed; out for {want} s")]);
        advance(Duration::from_secs(want) + Duration::from_millis(1)).await;
        assert_eq!(interval(&mut detector, &backends, &[]), ["0: back"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_of_failures_ejects_without_waiting_for_the_interval() {
    let backends = ready(2);
    let tuning = Arc::new(Tuning { consecutive_failures: Some(5), ..Tuning::default() });
    backends.iter().for_each(|backend| backend.load.tune(&tuning));
    let mut detector = Detector::new(OutlierConfig::default_on());
    calls(&backends[1], Code::Unavailable, 4);
    assert!(detector.suspects(Instant::now(), &backends).is_empty());
    calls(&backends[1], Code::Unavailable, 1);
    let told = apply(detector.suspects(Instant::now(), &backends), &backends);
    assert_eq!(told, ["1: 5 failures in a row; out for 30 s"]);
    assert_eq!(backends[1].state(), State::TransientFailure);
    // The other is the last one that is ready.
    calls(&backends[0], Code::Unavailable, 5);
    assert!(detector.suspects(Instant::now(), &backends).is_empty());
    // The manager asks at its next tick, which forgets nothing.
    assert!(interval(&mut detector, &backends, &[]).is_empty());
    let spared = detector.take_spared();
    assert_eq!(spared.len(), 1);
    assert_eq!((spared[0].why, spared[0].rule), (Why::ConsecutiveFailures(5), Rule::Share));
    // Back in the choice the row begins anew.
    advance(Duration::from_secs(31)).await;
    assert_eq!(interval(&mut detector, &backends, &[]), ["1: back"]);
    assert_eq!(backends[1].state(), State::Ready);
    calls(&backends[1], Code::Unavailable, 4);
    assert!(detector.suspects(Instant::now(), &backends).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_last_ready_backend_is_never_ejected() {
    let backends = ready(5);
    set(&backends[1..], &[State::TransientFailure; 4]);
    let mut detector = Detector::new(by_percentage());
    assert!(interval(&mut detector, &backends, &[(0, 50)]).is_empty());
    assert_eq!(detector.take_spared()[0].rule, Rule::LastReady);
    let single = ready(1);
    let one = FailurePercentage { minimum_hosts: 1, ..by_percentage().failure_percentage.unwrap() };
    let mut detector = Detector::new(OutlierConfig { failure_percentage: Some(one), ..off() });
    assert!(interval(&mut detector, &single, &[(0, 50)]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn enforcement_is_a_matter_of_chance() {
    let mut config = by_percentage();
    config.failure_percentage.as_mut().unwrap().enforcement_percentage = 30;
    for (random, want) in [(29, 1), (30, 0), (129, 1)] {
        let backends = ready(5);
        calls(&backends[0], Code::Internal, 50);
        let mut detector = Detector::new(config.clone());
        assert_eq!(detector.tick(Instant::now(), &backends, || random).len(), want);
        let spared = detector.take_spared();
        assert_eq!(spared.iter().filter(|it| it.rule == Rule::Enforcement).count(), 1 - want);
    }
}

#[tokio::test(start_paused = true)]
async fn turning_it_off_brings_everybody_back() {
    let backends = ready(5);
    let mut detector = Detector::new(by_percentage());
    assert_eq!(interval(&mut detector, &backends, &[(0, 50)]).len(), 1);
    let mut detector = Detector::new(off());
    assert_eq!(interval(&mut detector, &backends, &[]), ["0: back"]);
}

#[tokio::test(start_paused = true)]
async fn another_detector_goes_on_with_who_is_out() {
    let backends = ready(5);
    assert_eq!(interval(&mut Detector::new(by_percentage()), &backends, &[(0, 50)]).len(), 1);
    let mut detector = Detector::new(by_percentage());
    assert!(interval(&mut detector, &backends, &[]).is_empty());
    advance(Duration::from_secs(31)).await;
    assert_eq!(interval(&mut detector, &backends, &[]), ["0: back"]);
}

#[tokio::test(start_paused = true)]
async fn what_left_is_forgotten() {
    let mut backends = ready(5);
    let mut detector = Detector::new(by_percentage());
    assert_eq!(interval(&mut detector, &backends, &[(0, 50)]).len(), 1);
    backends[0] = backend(9);
    backends[0].set_state(State::Ready);
    advance(Duration::from_secs(31)).await;
    assert!(interval(&mut detector, &backends, &[]).is_empty());
    let told = interval(&mut detector, &backends, &[(0, 50)]);
    assert_eq!(told, ["0: 100 % of calls failed; out for 30 s"]);
}

proptest! {
    #[test]
    fn no_more_are_ejected_than_may_be(
        count in 1_u8..20,
        percent in 0_u32..=100,
        rounds in prop::collection::vec((any::<u64>(), any::<u64>(), 0_u64..60), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let backends = ready(count);
            let tuning = Arc::new(Tuning { consecutive_failures: Some(5), ..Tuning::default() });
            let percentage = FailurePercentage { minimum_hosts: 0, request_volume: 1, threshold: 50, enforcement_percentage: 100 };
            let rate = SuccessRate { minimum_hosts: 0, request_volume: 1, stdev_factor: 500, enforcement_percentage: 100 };
            let mut detector = Detector::new(OutlierConfig {
                max_ejection_percent: percent,
                failure_percentage: Some(percentage),
                success_rate: Some(rate),
                ..OutlierConfig::default_on()
            });
            let ready_of = |backends: &[Arc<Backend>]| backends.iter().filter(|it| it.state() == State::Ready).count();
            for (failing, down, wait) in rounds {
                for (number, backend) in backends.iter().enumerate() {
                    backend.load.tune(&tuning);
                    let code = if failing >> number & 1 == 1 { Code::Unavailable } else { Code::Ok };
                    calls(backend, code, 6);
                    let state = if down >> number & 1 == 1 { State::Connecting } else { State::Ready };
                    backend.set_state(state);
                }
                let before = ready_of(&backends);
                apply(detector.suspects(Instant::now(), &backends), &backends);
                apply(detector.tick(Instant::now(), &backends, || failing), &backends);
                let ejected = backends.iter().filter(|backend| backend.is_ejected()).count() as u32;
                assert!(ejected <= 1 || ejected * 100 <= percent * u32::from(count), "{ejected} of {count}, {percent} %");
                assert!(before == 0 || ready_of(&backends) > 0, "nobody is left");
                advance(Duration::from_secs(wait)).await;
            }
        });
    }
}
