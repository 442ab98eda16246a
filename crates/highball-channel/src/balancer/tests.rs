//! Every policy through the door the manager uses, and the figures they promise.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use highball_core::Code;
use http::HeaderMap;

use super::load::{Active, Outcome};
use super::random::mix;
use super::*;
use crate::orca::OrcaReport;
use crate::service_config::balancing::{RingHashConfig, SlowStart, WeightedRoundRobinConfig};
use crate::{Address, Endpoint};

pub(crate) fn backend(number: u8) -> Arc<Backend> {
    Backend::new(Endpoint::new(Address::Tcp(([10, 0, 0, number], 50_051).into())))
}

pub(crate) fn ready(count: u8) -> Vec<Arc<Backend>> {
    let backends: Vec<_> = (0..count).map(backend).collect();
    set(&backends, &vec![State::Ready; backends.len()]);
    backends
}

pub(crate) fn set(backends: &[Arc<Backend>], states: &[State]) {
    for (backend, state) in backends.iter().zip(states) {
        backend.set_state(*state);
    }
}

/// Calls with fresh random bits, from a seed.
pub(crate) struct Caller {
    pub(crate) headers: HeaderMap,
    pub(crate) tried: Vec<Arc<Backend>>,
    method: Method,
    bits: u64,
}

impl Caller {
    pub(crate) fn new(seed: u64) -> Self {
        let method = Method::parse(&"/a.B/C".parse().unwrap()).unwrap();
        Self { headers: HeaderMap::new(), tried: Vec::new(), method, bits: seed }
    }

    pub(crate) fn pick(&mut self, picker: &dyn Picker) -> Pick {
        self.bits = mix(self.bits);
        picker.pick(&Ask {
            method: &self.method,
            headers: &self.headers,
            tried: &self.tried,
            random: self.bits,
        })
    }

    pub(crate) fn to(&mut self, picker: &dyn Picker) -> Arc<Backend> {
        match self.pick(picker) {
            Pick::To(backend, _) => backend,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn balancing(policy: PolicyConfig) -> Balancing {
    Balancing { policy, outlier: None, subset: None, slow_start: None }
}

fn wrr() -> WeightedRoundRobinConfig {
    WeightedRoundRobinConfig {
        blackout_period: Duration::from_secs(10),
        weight_expiration_period: Duration::from_secs(180),
        weight_update_period: Duration::from_secs(1),
        error_utilization_penalty: 1.0,
        metric_names: Vec::new(),
        oob_load_report: false,
        oob_reporting_period: Duration::from_secs(10),
    }
}

fn ewma() -> PolicyConfig {
    PolicyConfig::PeakEwma { decay: Duration::from_secs(10), default_rtt: Duration::from_millis(30) }
}

/// All policies that choose among ready backends.
fn choosers() -> Vec<Balancing> {
    let ring = RingHashConfig { ring_size_min: 1024, ring_size_max: 4096, header: None };
    let policies = [
        PolicyConfig::RoundRobin,
        PolicyConfig::LeastRequest { choice_count: 2 },
        PolicyConfig::RingHash(ring),
        PolicyConfig::WeightedRoundRobin(wrr()),
        ewma(),
    ];
    policies.into_iter().map(balancing).collect()
}

pub(crate) fn policy(balancing: &Balancing) -> Box<dyn Policy> {
    policy_for(balancing, &Tuning::new(balancing, 1024, Arc::default()), 42)
}

fn shares(backends: &[Arc<Backend>], picker: &dyn Picker, calls: usize) -> Vec<usize> {
    let mut caller = Caller::new(7);
    let mut shares = vec![0; backends.len()];
    for _ in 0..calls {
        let to = caller.to(picker);
        shares[backends.iter().position(|backend| Arc::ptr_eq(backend, &to)).unwrap()] += 1;
    }
    shares
}

/// Below 27.9 for ten equal shares, 999 times of 1,000.
fn chi_square(shares: &[usize]) -> f64 {
    let want = shares.iter().sum::<usize>() as f64 / shares.len() as f64;
    shares.iter().map(|share| (*share as f64 - want).powi(2) / want).sum()
}

#[tokio::test(start_paused = true)]
async fn round_robin_is_even_and_begins_anywhere() {
    let backends = ready(10);
    let mut first = Vec::new();
    for seed in 0..20_u64 {
        let tuning = Arc::default();
        let mut policy = policy_for(&balancing(PolicyConfig::RoundRobin), &tuning, mix(seed));
        let picker = policy.build(&backends, Instant::now()).picker;
        first.push(Caller::new(0).to(&*picker).endpoint().name());
        // Ten rounds less the pick above and one more: nobody is ahead by more than one.
        let shares = shares(&backends, &*picker, 99);
        assert!(shares.iter().all(|share| (9..=10).contains(share)), "{shares:?}");
    }
    first.sort();
    first.dedup();
    assert!(first.len() > 4, "all begin at {first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rebuilt_round_robin_goes_on_where_it_was() {
    let backends = ready(3);
    let mut policy = policy(&balancing(PolicyConfig::RoundRobin));
    let mut caller = Caller::new(0);
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(caller.to(&*policy.build(&backends, Instant::now()).picker).endpoint().name());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn random_choices_among_equals_are_even() {
    let backends = ready(10);
    for policy_config in [PolicyConfig::LeastRequest { choice_count: 3 }, ewma()] {
        let picker = policy(&balancing(policy_config)).build(&backends, Instant::now()).picker;
        let shares = shares(&backends, &*picker, 10_000);
        assert!(chi_square(&shares) < 27.9, "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn least_request_prefers_who_has_less_to_do() {
    let backends = ready(3);
    let busy: Vec<_> = (0..5).map(|_| Active::begin(Arc::clone(&backends[0]), Instant::now())).collect();
    let picker = policy(&balancing(PolicyConfig::LeastRequest { choice_count: 2 }))
        .build(&backends, Instant::now())
        .picker;
    let shares = shares(&backends, &*picker, 9_000);
    // Only when it is drawn twice.
    assert!(shares[0].abs_diff(1_000) < 150, "{shares:?}");
    drop(busy);
    assert!(backends.iter().all(|backend| backend.load.active() == 0));
}

/// An open model: calls come every 2 ms, whatever the answers take.
async fn model(
    picker: &dyn Picker,
    backends: &[Arc<Backend>],
    takes: impl Fn(usize) -> Duration,
) -> Vec<usize> {
    let mut caller = Caller::new(11);
    let mut ends: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
    let mut calls: Vec<Option<Active>> = Vec::new();
    let mut shares = vec![0; backends.len()];
    for _ in 0..10_000 {
        let now = Instant::now();
        while ends.peek().is_some_and(|Reverse((end, _))| *end <= now) {
            let Reverse((end, call)) = ends.pop().unwrap();
            let mut active = calls[call].take().unwrap();
            active.answered(end);
            active.finish(&Outcome { code: Code::Ok, orca: None, pushback: None }, end);
        }
        let to = caller.to(picker);
        let place = backends.iter().position(|backend| Arc::ptr_eq(backend, &to)).unwrap();
        shares[place] += 1;
        ends.push(Reverse((now + takes(place), calls.len())));
        calls.push(Some(Active::begin(to, now)));
        tokio::time::advance(Duration::from_millis(2)).await;
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn peak_ewma_avoids_a_backend_that_is_ten_times_slower() {
    let backends = ready(3);
    let picker = policy(&balancing(ewma())).build(&backends, Instant::now()).picker;
    let shares =
        model(&*picker, &backends, |place| Duration::from_millis(if place == 1 { 100 } else { 10 })).await;
    assert!(shares[1] <= 1_500, "{shares:?}");
    assert!(shares[0].abs_diff(shares[2]) < 1_500, "{shares:?}");
    // It is as quick as the others again. Twenty seconds a round: the third sees the whole share back.
    let mut shares = Vec::new();
    for _ in 0..3 {
        shares = model(&*picker, &backends, |_| Duration::from_millis(10)).await;
    }
    assert!(shares[1].abs_diff(3_333) < 700, "{shares:?}");
    // The control: a policy that does not look gives it a third.
    let blind = policy(&balancing(PolicyConfig::RoundRobin)).build(&backends, Instant::now()).picker;
    assert!(model(&*blind, &backends, |_| Duration::from_millis(10)).await[1] > 3_000);
}

#[tokio::test(start_paused = true)]
async fn weighted_round_robin_follows_the_reports() {
    let backends = ready(4);
    let balancing = balancing(PolicyConfig::WeightedRoundRobin(wrr()));
    let mut policy = policy(&balancing);
    assert_eq!(policy.build(&backends, Instant::now()).rebuild_after, Some(Duration::from_secs(1)));
    let report = |backend: &Arc<Backend>, qps: f64| {
        let orca = OrcaReport { qps, cpu_utilization: 0.5, ..OrcaReport::default() };
        let active = Active::begin(Arc::clone(backend), Instant::now());
        active.finish(&Outcome { code: Code::Ok, orca: Some(&orca), pushback: None }, Instant::now());
    };
    let report_all =
        || backends.iter().zip([100.0, 200.0, 400.0]).for_each(|(backend, qps)| report(backend, qps));
    report_all();
    tokio::time::advance(Duration::from_secs(9)).await;
    let even = shares(&backends, &*policy.build(&backends, Instant::now()).picker, 4_000);
    assert_eq!(even, [1_000; 4], "in the blackout reports do not count");

    tokio::time::advance(Duration::from_secs(1)).await;
    let weighed = shares(&backends, &*policy.build(&backends, Instant::now()).picker, 9_333);
    // The fourth reports nothing and gets the mean of 1, 2 and 4.
    for (share, want) in weighed.iter().zip([1_000, 2_000, 4_000, 2_333]) {
        assert!(share.abs_diff(want) < 30, "{weighed:?}");
    }

    tokio::time::advance(Duration::from_secs(180)).await;
    let even = shares(&backends, &*policy.build(&backends, Instant::now()).picker, 4_000);
    assert_eq!(even, [1_000; 4], "old reports do not count");
    report_all();
    let even = shares(&backends, &*policy.build(&backends, Instant::now()).picker, 4_000);
    assert_eq!(even, [1_000; 4], "after them comes another blackout");
}

#[tokio::test(start_paused = true)]
async fn without_reports_the_weights_of_the_resolver_count() {
    let backends = ready(2);
    let mut heavy = Endpoint::clone(&backends[1].endpoint());
    heavy.attributes.weight = Some(3);
    backends[1].set_endpoint(heavy);
    let picker =
        policy(&balancing(PolicyConfig::WeightedRoundRobin(wrr()))).build(&backends, Instant::now()).picker;
    let shares = shares(&backends, &*picker, 4_000);
    assert!(shares[0].abs_diff(1_000) < 10, "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_has_just_become_ready_is_eased_in() {
    let slow_start = SlowStart { window: Duration::from_secs(100), aggression: 1.0, min_weight_percent: 10 };
    for policy_config in [PolicyConfig::RoundRobin, PolicyConfig::LeastRequest { choice_count: 2 }, ewma()] {
        let backends = ready(4);
        tokio::time::advance(Duration::from_secs(100)).await;
        backends[3].set_state(State::Idle);
        backends[3].set_state(State::Ready);
        let balancing = Balancing { slow_start: Some(slow_start.clone()), ..balancing(policy_config) };
        let mut policy = policy(&balancing);
        let mut last = 0;
        for step in 0..4 {
            for backend in &backends {
                let begun = Instant::now() - Duration::from_millis(10);
                Active::begin(Arc::clone(backend), begun).answered(Instant::now());
            }
            let published = policy.build(&backends, Instant::now());
            let shares = shares(&backends, &*published.picker, 4_000);
            assert!(shares[3] >= last, "{} at step {step}: {shares:?} after {last}", policy.name());
            last = shares[3];
            match step {
                // A tenth of its weight of 1 beside 3; what is drawn by cost gets it only when drawn twice, or never.
                0 => assert!(shares[3] <= 300, "{} {shares:?}", policy.name()),
                3 => assert!(shares[3] >= 900, "{} {shares:?}", policy.name()),
                _ => {}
            }
            assert_eq!(published.rebuild_after.is_some(), step < 3, "{} at step {step}", policy.name());
            tokio::time::advance(Duration::from_secs(34)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_elsewhere_while_it_can() {
    for balancing in choosers() {
        let backends = ready(5);
        let mut policy = policy(&balancing);
        let picker = policy.build(&backends, Instant::now()).picker;
        let mut caller = Caller::new(3);
        for _ in 0..5 {
            let to = caller.to(&*picker);
            assert!(!caller.tried.iter().any(|tried| Arc::ptr_eq(tried, &to)), "{}", policy.name());
            caller.tried.push(to);
        }
        // All were tried: better one of them than none.
        caller.to(&*picker);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_backend_is_passed_over_and_full_ones_refuse() {
    for balancing in choosers().into_iter().chain([balancing(PolicyConfig::PickFirst { shuffle: false })]) {
        let backends =
            ready(if balancing.policy == (PolicyConfig::PickFirst { shuffle: false }) { 1 } else { 3 });
        let tuning = Tuning::new(&balancing, 2, Arc::default());
        let mut policy = policy_for(&balancing, &tuning, 1);
        let picker = policy.build(&backends, Instant::now()).picker;
        let mut caller = Caller::new(5);
        let mut calls: Vec<_> =
            (0..backends.len() * 2).map(|_| Active::begin(caller.to(&*picker), Instant::now())).collect();
        assert!(backends.iter().all(|backend| backend.load.active() == 2), "{}", policy.name());
        match caller.pick(&*picker) {
            Pick::Drop(status) => assert!(status.message().contains("endpoint_calls_max"), "{status}"),
            other => panic!("{}: {other:?}", policy.name()),
        }
        calls.pop();
        caller.to(&*picker);
    }
}

#[tokio::test(start_paused = true)]
async fn states_become_answers() {
    use State::{Connecting, Idle, Ready, TransientFailure};
    for balancing in choosers().into_iter().filter(|it| !matches!(it.policy, PolicyConfig::RingHash(_))) {
        let mut policy = policy(&balancing);
        for (states, whole, answer) in [
            ([Idle, TransientFailure], Connecting, "Queue"),
            ([Connecting, TransientFailure], Connecting, "Queue"),
            ([TransientFailure, TransientFailure], TransientFailure, "Fail"),
            ([TransientFailure, Ready], Ready, "To"),
        ] {
            let backends = ready(2);
            set(&backends, &states);
            let published = policy.build(&backends, Instant::now());
            assert_eq!(published.state, whole, "{} {states:?}", policy.name());
            let pick = format!("{:?}", Caller::new(0).pick(&*published.picker));
            assert!(pick.starts_with(answer), "{} {states:?}: {pick}", policy.name());
        }
        assert_eq!(policy.build(&[], Instant::now()).state, TransientFailure);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_nothing_ready_wakes_what_sleeps() {
    let backends = [backend(0)];
    for policy_config in [PolicyConfig::PickFirst { shuffle: false }, PolicyConfig::RoundRobin] {
        let picker = policy(&balancing(policy_config)).build(&backends, Instant::now()).picker;
        assert!(matches!(Caller::new(0).pick(&*picker), Pick::Queue));
        tokio::time::timeout(Duration::from_secs(1), backends[0].wanted()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_picker_does_not_send_calls_to_what_broke_since() {
    for balancing in choosers() {
        let backends = ready(3);
        let mut policy = policy(&balancing);
        let picker = policy.build(&backends, Instant::now()).picker;
        backends[0].set_state(State::TransientFailure);
        backends[2].set_state(State::TransientFailure);
        let mut caller = Caller::new(9);
        for _ in 0..20 {
            assert!(Arc::ptr_eq(&caller.to(&*picker), &backends[1]), "{}", policy.name());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_priority_that_does_not_fail_is_used() {
    let backends = ready(4);
    for (backend, priority) in backends.iter().zip([1, 0, 0, 1]) {
        let mut endpoint = Endpoint::clone(&backend.endpoint());
        endpoint.attributes.priority = priority;
        backend.set_endpoint(endpoint);
    }
    let mut policy = policy(&balancing(PolicyConfig::RoundRobin));
    let mut check = |states: [State; 4], want: [usize; 4]| {
        set(&backends, &states);
        let published = policy.build(&backends, Instant::now());
        assert_eq!(shares(&backends, &*published.picker, 4), want, "{states:?}");
    };
    let (up, down) = (State::Ready, State::TransientFailure);
    check([up, up, up, up], [0, 2, 2, 0]);
    check([up, down, up, up], [0, 0, 4, 0]);
    check([up, down, down, up], [2, 0, 0, 2]);
    check([up, up, down, up], [0, 4, 0, 0]);
    backends[1].set_state(State::Connecting);
    assert_eq!(
        policy.build(&backends, Instant::now()).state,
        State::Connecting,
        "the better ones may still come"
    );
}

#[test]
fn the_default_depends_on_whether_there_is_a_choice() {
    let default = effective(None);
    assert_eq!(
        default.policy,
        PolicyConfig::RoundRobin,
        "also for one endpoint: its connection stays when a second comes"
    );
    assert_eq!(default.outlier, Some(OutlierConfig::default_on()));
    let chosen = effective(Some(&balancing(ewma())));
    assert_eq!((chosen.policy, chosen.outlier), (ewma(), Some(OutlierConfig::default_on())));
}

#[test]
fn threads_share_a_picker() {
    for balancing in choosers() {
        let backends = ready(4);
        let mut policy = policy(&balancing);
        let picker = policy.build(&backends, Instant::now()).picker;
        let shares: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u64)
                .map(|seed| {
                    let (picker, backends) = (&picker, &backends);
                    scope.spawn(move || {
                        let mut caller = Caller::new(seed);
                        let mut shares = vec![0; backends.len()];
                        for call in 0..2_000 {
                            let now = Instant::now();
                            let mut active = Active::begin(caller.to(&**picker), now);
                            let chosen = |backend: &Arc<Backend>| Arc::ptr_eq(backend, active.backend());
                            shares[backends.iter().position(chosen).unwrap()] += 1;
                            if call % 2 == 0 {
                                active.answered(now);
                                let outcome = Outcome { code: Code::Ok, orca: None, pushback: None };
                                active.finish(&outcome, now);
                            }
                        }
                        shares
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).fold(vec![0; 4], |sum, shares| {
                sum.into_iter().zip(shares).map(|(one, other)| one + other).collect()
            })
        });
        assert_eq!(shares.iter().sum::<usize>(), 8_000);
        assert!(shares.iter().all(|share| *share > 500), "{}: {shares:?}", policy.name());
        assert!(backends.iter().all(|backend| backend.load.active() == 0), "{}", policy.name());
        if policy.name() == "round_robin" {
            assert_eq!(shares, [2_000; 4]);
        }
        let counted: u64 = backends.iter().map(|backend| backend.load.take_counts().0).sum();
        assert_eq!(counted, 4_000, "{}", policy.name());
    }
}
