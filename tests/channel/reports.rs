//! Load reports out of band: weights follow them, and a server without them is left alone.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use highball::{Code, Telemetry};
use tokio::sync::watch;
use tokio::time::Instant;

use super::peer::{Peer, Rpc, until};
use super::scripted::{head, status};
use super::*;

const CONFIG: &str = r#"{"loadBalancingConfig":[{"weighted_round_robin":{"blackoutPeriod":"0s","weightUpdatePeriod":"0.1s",
    "enableOobLoadReport":true,"oobReportingPeriod":"7s"}}]}"#;

/// `OrcaLoadReport` with `cpu_utilization` and `rps_fractional`.
fn report(cpu_utilization: f64, qps: f64) -> Vec<u8> {
    let mut report = vec![0x09];
    report.extend(cpu_utilization.to_le_bytes());
    report.push(0x31);
    report.extend(qps.to_le_bytes());
    report
}

/// A server that reports what it is told to, and counts its calls.
struct Reporter {
    peer: Peer,
    report: watch::Sender<Vec<u8>>,
    calls: Arc<AtomicUsize>,
    /// When it was asked for reports, and how.
    asked: Arc<Mutex<Vec<(Instant, Vec<u8>)>>>,
}

/// What becomes of a stream of reports.
#[derive(Clone, Copy, PartialEq)]
enum Stream {
    /// Goes on.
    Lasts,
    /// Ends after the first report.
    Ends,
    /// There is none.
    Missing,
}

impl Reporter {
    async fn start(first: Vec<u8>, kind: Stream) -> Self {
        let (report, calls) = (watch::Sender::new(first), Arc::<AtomicUsize>::default());
        let asked = Arc::<Mutex<Vec<(Instant, Vec<u8>)>>>::default();
        let (reports, counted, noted) = (report.clone(), calls.clone(), asked.clone());
        let peer = Peer::rpcs(move |mut rpc| {
            let (mut reports, counted, noted) = (reports.subscribe(), counted.clone(), noted.clone());
            async move {
                if rpc.request.uri().path() != "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics" {
                    counted.fetch_add(1, Ordering::SeqCst);
                    return rpc.succeed();
                }
                let message = rpc.request.body_mut().data().await.unwrap().unwrap();
                noted.lock().unwrap().push((Instant::now(), message[5..].to_vec()));
                match kind {
                    Stream::Missing => rpc.fail(Code::Unimplemented),
                    kind => stream(rpc, &mut reports, kind).await,
                }
            }
        })
        .await;
        Self { peer, report, calls, asked }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn stream(mut rpc: Rpc, reports: &mut watch::Receiver<Vec<u8>>, kind: Stream) {
    let mut stream = rpc.respond.send_response(head(), false).unwrap();
    loop {
        let report = seal(&reports.borrow_and_update());
        if stream.send_data(report, false).is_err() {
            return;
        }
        if kind == Stream::Ends {
            stream.send_trailers(status(Code::Ok)).ok();
            return;
        }
        tokio::select! {
            changed = reports.changed() => changed.unwrap(),
            _ = std::future::poll_fn(|cx| stream.poll_reset(cx)) => return,
        }
    }
}

fn channel_to(reporters: &[&Reporter], telemetry: &Telemetry) -> Channel {
    let addrs: Vec<String> = reporters.iter().map(|reporter| reporter.peer.addr.to_string()).collect();
    let channel = Channel::builder(&format!("static:///{}", addrs.join(",")));
    channel.with_service_config(CONFIG).with_telemetry(telemetry.clone()).build().unwrap()
}

/// Calls until the last fifty were shared out so: how many went to the first, at least and at most.
async fn shares(channel: &Channel, (a, b): (&Reporter, &Reporter), least: usize, most: usize) {
    let shared = async {
        loop {
            for reporter in [a, b] {
                reporter.calls.store(0, Ordering::SeqCst);
            }
            for _ in 0..50 {
                let outcome = get(channel).await;
                assert_eq!(outcome.status.code(), Code::Ok, "{outcome:?}");
            }
            assert_eq!(a.calls.load(Ordering::SeqCst) + b.calls.load(Ordering::SeqCst), 50);
            if (least..=most).contains(&a.calls.load(Ordering::SeqCst)) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, shared)
        .await
        .unwrap_or_else(|_| panic!("not in time: {least} to {most} of 50"));
}

#[tokio::test]
async fn weights_follow_reports_out_of_band() {
    let (a, b) = (
        Reporter::start(report(0.5, 200.0), Stream::Lasts).await,
        Reporter::start(report(0.5, 50.0), Stream::Lasts).await,
    );
    let channel = channel_to(&[&a, &b], &Telemetry::new());
    shares(&channel, (&a, &b), 39, 41).await;
    assert_eq!(channel.snapshot().picks.last().unwrap().why, "weighted_round_robin");
    b.report.send_replace(report(0.5, 800.0));
    shares(&channel, (&a, &b), 9, 11).await;
    for reporter in [&a, &b] {
        let asked = reporter.asked.lock().unwrap();
        // One stream, which asks for a report every seven seconds.
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].1, b"\x0a\x02\x08\x07");
    }
}

#[tokio::test]
async fn a_server_without_reports_is_asked_once_and_that_is_told() {
    let telemetry = Telemetry::new();
    let missing = Reporter::start(Vec::new(), Stream::Missing).await;
    let channel = channel_to(&[&missing], &telemetry);
    let ends = || {
        let page = telemetry.render();
        page.lines().find(|line| line.starts_with("channel_load_report_ends_total{")).map(str::to_owned)
    };
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
    until("it is told", || ends().is_some()).await;
    // Longer than the backoff of everything else.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(missing.asked(), 1);
    assert!(ends().unwrap().ends_with("result=\"UNIMPLEMENTED\"} 1"), "{ends:?}", ends = ends());
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_stream_of_reports_that_ends_is_begun_again_without_haste() {
    let telemetry = Telemetry::new();
    let brief = Reporter::start(report(0.5, 1.0), Stream::Ends).await;
    let channel = channel_to(&[&brief], &telemetry);
    assert_eq!(get(&channel).await.status.code(), Code::Ok);
    until("three streams", || brief.asked() >= 3).await;
    let asked = brief.asked.lock().unwrap();
    for pair in asked.windows(2) {
        assert!(pair[1].0 - pair[0].0 > Duration::from_millis(900), "{asked:?}");
    }
    assert!(telemetry.render().contains("result=\"OK\"}"));
}
