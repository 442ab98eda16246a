//! What a backend's load remembers, in virtual time.

use highball_core::Code;
use tokio::time::advance;

use super::*;
use crate::backend::Backend;
use crate::balancer::tests::backend;
use crate::service_config::balancing::WeightedRoundRobinConfig;

const DECAY: Duration = Duration::from_secs(10);
const DEFAULT: Duration = Duration::from_millis(30);

/// What one more call would cost.
fn millis(backend: &Backend) -> f64 {
    backend.load.cost(Instant::now(), DECAY, DEFAULT) * 1_000.0
}

#[track_caller]
fn assert_millis(backend: &Backend, want: f64) {
    let found = millis(backend);
    assert!((found - want).abs() <= want / 200.0, "{found} ms, not {want} ms");
}

/// An attempt that ends after `took`, answered or not.
async fn attempt(
    backend: &Arc<Backend>,
    code: Code,
    took: Duration,
    answered: bool,
    pushback: Option<Duration>,
) {
    let mut active = Active::begin(Arc::clone(backend), Instant::now());
    advance(took).await;
    if answered {
        active.answered(Instant::now());
    }
    active.finish(&Outcome { code, orca: None, pushback }, Instant::now());
}

async fn answer(backend: &Arc<Backend>, took: u64) {
    attempt(backend, Code::Ok, Duration::from_millis(took), true, None).await;
}

async fn end(backend: &Arc<Backend>, code: Code) {
    attempt(backend, code, Duration::ZERO, false, None).await;
}

#[tokio::test(start_paused = true)]
async fn an_estimate_jumps_up_comes_down_slowly_and_fades() {
    let backend = backend(1);
    answer(&backend, 10).await;
    assert_millis(&backend, 10.0);
    answer(&backend, 100).await;
    assert_millis(&backend, 100.0);
    advance(DECAY - Duration::from_millis(10)).await;
    answer(&backend, 10).await;
    // One time constant later: what is left of 100, and the rest of 10.
    let e = (-1.0_f64).exp();
    assert_millis(&backend, 100.0 * e + 10.0 * (1.0 - e));
    advance(DECAY).await;
    assert_millis(&backend, (100.0 * e + 10.0 * (1.0 - e)) * e);
    advance(DECAY * 100).await;
    assert_millis(&backend, 0.1);
}

#[tokio::test(start_paused = true)]
async fn a_new_backend_is_measured_with_one_call() {
    let backend = backend(1);
    assert_eq!(millis(&backend), 0.0);
    let active = Active::begin(Arc::clone(&backend), Instant::now());
    assert_millis(&backend, 60.0);
    drop(active);
    assert_eq!(millis(&backend), 0.0);
    answer(&backend, 5).await;
    let _active = [(); 3].map(|()| Active::begin(Arc::clone(&backend), Instant::now()));
    assert_millis(&backend, 20.0);
}

#[tokio::test(start_paused = true)]
async fn quick_answers_at_a_high_rate_bring_it_down_as_fast() {
    let backend = backend(1);
    answer(&backend, 100).await;
    // Five answers per millisecond for one time constant.
    for _ in 0..10_000 {
        advance(Duration::from_millis(1)).await;
        for _ in 0..5 {
            let mut active = Active::begin(Arc::clone(&backend), Instant::now() - Duration::from_millis(1));
            active.answered(Instant::now());
        }
    }
    let e = (-1.0_f64).exp();
    assert_millis(&backend, 100.0 * e + (1.0 - e));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_five_seconds_or_what_the_server_asks_for() {
    let backend = backend(1);
    end(&backend, Code::Unavailable).await;
    assert_millis(&backend, 5_000.0);
    attempt(&backend, Code::ResourceExhausted, Duration::ZERO, false, Some(Duration::from_secs(20))).await;
    assert_millis(&backend, 20_000.0);
    attempt(&backend, Code::Unavailable, Duration::ZERO, false, Some(Duration::from_secs(86_400))).await;
    assert_millis(&backend, 300_000.0);
}

#[tokio::test(start_paused = true)]
async fn failing_quickly_does_not_look_quick_and_silence_looks_slow() {
    let backend = backend(1);
    for code in [Code::Internal, Code::Unknown, Code::Cancelled] {
        end(&backend, code).await;
        assert_millis(&backend, 30.0);
    }
    attempt(&backend, Code::Cancelled, Duration::from_millis(20), false, None).await;
    assert_millis(&backend, 30.0);
    attempt(&backend, Code::DeadlineExceeded, Duration::from_millis(900), false, None).await;
    assert_millis(&backend, 900.0);
    advance(DECAY * 3).await;
    assert!(millis(&backend) < 100.0);
    end(&backend, Code::Internal).await;
    assert_millis(&backend, 900.0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_measured_at_its_first_message() {
    let backend = backend(1);
    let mut active = Active::begin(Arc::clone(&backend), Instant::now());
    advance(Duration::from_millis(10)).await;
    active.answered(Instant::now());
    assert_millis(&backend, 20.0);
    advance(Duration::from_millis(500)).await;
    active.answered(Instant::now());
    active.finish(&Outcome { code: Code::Ok, orca: None, pushback: None }, Instant::now());
    assert!(millis(&backend) < 10.0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_counted_once_however_it_ends() {
    let backend = backend(1);
    let dropped = Active::begin(Arc::clone(&backend), Instant::now());
    let finished = Active::begin(Arc::clone(&backend), Instant::now());
    assert_eq!(backend.load.active(), 2);
    drop(dropped);
    finished.finish(&Outcome { code: Code::Ok, orca: None, pushback: None }, Instant::now());
    assert_eq!(backend.load.active(), 0);
    assert_eq!(backend.load.take_counts(), (1, 0));
    assert_eq!(backend.load.take_counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_row_of_failures_rings_the_alarm_once_per_length() {
    let backend = backend(1);
    let tuning = Arc::new(Tuning { consecutive_failures: Some(3), ..Tuning::default() });
    backend.load.tune(&tuning);
    let rang = async || tokio::time::timeout(Duration::from_millis(1), tuning.alarm.notified()).await.is_ok();
    for code in [Code::Internal, Code::Unavailable, Code::NotFound, Code::Unknown, Code::DataLoss] {
        end(&backend, code).await;
    }
    assert!(!rang().await, "NOT_FOUND is an answer: the row begins anew");
    // Says nothing either way.
    end(&backend, Code::Cancelled).await;
    end(&backend, Code::DeadlineExceeded).await;
    assert!(rang().await);
    assert_eq!(backend.load.take_suspicion(), Some(3));
    assert_eq!(backend.load.take_suspicion(), None);
    end(&backend, Code::Internal).await;
    end(&backend, Code::Internal).await;
    assert!(!rang().await);
    end(&backend, Code::Internal).await;
    assert!(rang().await);
    assert_eq!(backend.load.take_suspicion(), Some(6));
    assert_eq!(backend.load.take_counts(), (1, 8));
}

fn weighted() -> WeightedRoundRobinConfig {
    WeightedRoundRobinConfig {
        blackout_period: Duration::ZERO,
        weight_expiration_period: Duration::from_secs(180),
        weight_update_period: Duration::from_secs(1),
        error_utilization_penalty: 2.0,
        metric_names: vec!["named_metrics.queue".to_owned(), "mem_utilization".to_owned()],
        oob_load_report: false,
        oob_reporting_period: Duration::from_secs(10),
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_becomes_a_weight() {
    let check = |report: OrcaReport, want: Option<f64>| {
        let backend = backend(1);
        backend.load.tune(&Arc::new(Tuning { weighted: Some(weighted()), ..Tuning::default() }));
        backend.load.report(&report, Instant::now());
        assert_eq!(backend.load.weight(Instant::now()), want, "{report:?}");
    };
    let cpu = OrcaReport { qps: 100.0, cpu_utilization: 0.5, ..OrcaReport::default() };
    check(cpu.clone(), Some(200.0));
    check(OrcaReport { eps: 50.0, ..cpu.clone() }, Some(100.0 / 1.5));
    // gRFC A114: the application's own word, then the largest named metric, then the CPU.
    let named = vec![("queue".to_owned(), 0.25)];
    check(OrcaReport { named_metrics: named.clone(), ..cpu.clone() }, Some(400.0));
    check(OrcaReport { named_metrics: named.clone(), mem_utilization: 0.8, ..cpu.clone() }, Some(125.0));
    check(OrcaReport { named_metrics: named, application_utilization: 1.0, ..cpu.clone() }, Some(100.0));
    for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        check(OrcaReport { qps: nothing, ..cpu.clone() }, None);
        check(OrcaReport { cpu_utilization: nothing, ..cpu.clone() }, None);
        check(OrcaReport { application_utilization: nothing, ..cpu.clone() }, Some(200.0));
    }
    check(OrcaReport { eps: f64::NAN, ..cpu }, Some(200.0));
}

#[tokio::test(start_paused = true)]
async fn reports_of_calls_count_while_there_are_none_out_of_band() {
    let backend = backend(1);
    let reports = |cpu_utilization| OrcaReport { qps: 100.0, cpu_utilization, ..OrcaReport::default() };
    let weight = || backend.load.weight(Instant::now());
    backend.load.tune(&Arc::new(Tuning { weighted: Some(weighted()), ..Tuning::default() }));
    backend.load.report(&reports(0.5), Instant::now());
    assert_eq!(weight(), Some(200.0));
    backend.load.report_out_of_band(&reports(0.25), Instant::now());
    backend.load.report(&reports(0.5), Instant::now());
    assert_eq!(weight(), Some(400.0), "one call says less than the whole");
    backend.load.reports_ended();
    backend.load.report(&reports(0.5), Instant::now());
    assert_eq!(weight(), Some(200.0));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_reporting_period_is_told_once() {
    let backend = backend(1);
    let mut wanted = backend.load.reports_wanted();
    let tune = |config| backend.load.tune(&Arc::new(Tuning { weighted: Some(config), ..Tuning::default() }));
    tune(weighted());
    assert!(!wanted.has_changed().unwrap(), "nobody wants reports out of band");
    let period = Duration::from_secs(10);
    for _ in 0..2 {
        tune(WeightedRoundRobinConfig { oob_load_report: true, ..weighted() });
    }
    assert!(wanted.has_changed().unwrap());
    assert_eq!(*wanted.borrow_and_update(), Some(period));
    tune(WeightedRoundRobinConfig { oob_load_report: true, error_utilization_penalty: 3.0, ..weighted() });
    assert!(!wanted.has_changed().unwrap(), "the period is the same");
    tune(weighted());
    assert_eq!(*wanted.borrow_and_update(), None);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_begins_another_blackout() {
    let backend = backend(1);
    let config = WeightedRoundRobinConfig { blackout_period: Duration::from_secs(10), ..weighted() };
    backend.load.tune(&Arc::new(Tuning { weighted: Some(config), ..Tuning::default() }));
    let report = OrcaReport { qps: 100.0, cpu_utilization: 0.5, ..OrcaReport::default() };
    backend.set_state(crate::State::Ready);
    backend.load.report(&report, Instant::now());
    advance(Duration::from_secs(10)).await;
    assert!(backend.load.weight(Instant::now()).is_some());
    backend.set_state(crate::State::Idle);
    backend.set_state(crate::State::Ready);
    backend.load.report(&report, Instant::now());
    assert_eq!(backend.load.weight(Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn slow_start_ramps_along_its_curve() {
    let backend = backend(1);
    let mut config = SlowStart { window: Duration::from_secs(100), aggression: 1.0, min_weight_percent: 10 };
    assert_eq!(backend.load.slow_start(&config, Instant::now()), 1.0, "what is not ready is not eased in");
    backend.load.ready(Instant::now());
    let mut check = |aggression: f64, want: f64| {
        config.aggression = aggression;
        let found = backend.load.slow_start(&config, Instant::now());
        assert!((found - want).abs() < 0.001, "{found}, not {want}");
    };
    check(1.0, 0.1);
    advance(Duration::from_secs(25)).await;
    check(1.0, 0.25);
    check(2.0, 0.5);
    check(0.5, 0.1);
    advance(Duration::from_secs(75)).await;
    check(0.5, 1.0);
}
