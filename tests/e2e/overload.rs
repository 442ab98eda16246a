//! More RPCs than the service can bear: refused by priority, with when to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use highball::server::{AdaptiveConcurrency, MethodSettings, Priority};
use highball::{Body, Code, Server, Settings};
use highball_testkit::{TestServer, stub};
use http::Request;
use tokio::sync::Semaphore;

use crate::{GET, WATCH, host};

/// Unary, and critical here.
const PAY: &str = "/ecommerce.v1.OrderService/GetOrder";
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Everything that is not [`PAY`] takes a place in `room` and holds it for `work`.
fn behind(room: &Arc<Semaphore>, work: Duration, own: AdaptiveConcurrency) -> Server {
    let room = room.clone();
    let answer = move |request: Request<Body>| {
        let room = room.clone();
        async move {
            if request.uri().path() != PAY {
                let _place = room.acquire_owned().await.unwrap();
                tokio::time::sleep(work).await;
            }
            stub::messages(&[b"done"])
        }
    };
    let of = |path: &str, priority| MethodSettings {
        methods: path.trim_start_matches('/').to_owned(),
        priority: Some(priority),
        ..MethodSettings::default()
    };
    let methods = vec![of(GET, Priority::Sheddable), of(PAY, Priority::Critical)];
    let settings = Settings { adaptive_concurrency: Some(own), methods, ..Settings::default() };
    host(answer).with_descriptors(orders::DESCRIPTORS).with_settings(settings)
}

#[tokio::test]
async fn a_burst_is_refused_beyond_its_share_and_what_matters_passes() {
    let room = Arc::new(Semaphore::new(0));
    let own = AdaptiveConcurrency { limit_initial: 10, ..AdaptiveConcurrency::default() };
    let server = TestServer::start(behind(&room, Duration::ZERO, own)).await;
    let client = Arc::new(server.client().await);
    let mut burst = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        burst.spawn(async move { client.unary(GET, b"").await });
    }
    // Seven of ten places are theirs, and nobody who has one goes.
    for _ in 0..13 {
        let refused = burst.join_next().await.unwrap().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let status = refused.status();
        for part in ["sheddable RPCs may use 7 of the 10", "methods.priority", "adaptive_concurrency"] {
            assert!(refused.trailers_only && status.message().contains(part), "{part}: {refused:?}");
        }
        let wait: u64 = refused.headers["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
        assert!((500..=1500).contains(&wait), "{wait}");
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert!(details.contains("google.rpc.RetryInfo"), "{details}");
    }
    for path in [PAY, PAY, CHECK] {
        assert_eq!(client.unary(path, b"").await.code(), Code::Ok, "{path}");
    }
    let watching = client.open(WATCH, &[]).await;
    let page = server.telemetry.render();
    for line in [
        "limit_hits_total{limit=\"adaptive_concurrency\"} 13",
        "concurrency_limit{limit=\"adaptive_concurrency\"} 10",
        "concurrency_in_flight{limit=\"adaptive_concurrency\"} 7",
        "concurrency_limit{limit=\"concurrent_rpcs\"} 10000",
        "grpc_requests_total{method=\"shop.v1.Shop/Get\",code=\"RESOURCE_EXHAUSTED\"} 13",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    room.add_permits(20);
    while let Some(served) = burst.join_next().await {
        assert_eq!(served.unwrap().code(), Code::Ok);
    }
    drop((watching, client));
    server.forced().await;
}

#[tokio::test]
async fn a_service_of_few_workers_is_not_flooded_and_what_matters_passes() {
    // Four at a time, 20 ms each, and 64 callers who come back at once.
    let room = Arc::new(Semaphore::new(4));
    let own = AdaptiveConcurrency::default();
    let server = TestServer::start(behind(&room, Duration::from_millis(20), own)).await;
    let client = server.client().await;
    let (served, refused, paid) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let flood = join_all((0..64).map(|_| async {
        loop {
            let reply = client.unary(GET, b"").await;
            let count = if reply.code() == Code::Ok { &served } else { &refused };
            count.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }));
    let pay = async {
        while served.load(Ordering::Relaxed) < 400 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..50 {
            paid.fetch_add(usize::from(client.unary(PAY, b"").await.code() == Code::Ok), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = flood => {}
        () = pay => {}
    }
    // One may come while the limit falls below what is in flight.
    let paid = paid.into_inner();
    assert!(paid >= 40, "{paid} of 50 were paid");
    let refused = refused.into_inner();
    assert!(refused > 0, "nobody was refused");
    let page = server.telemetry.render();
    let limit = page.lines().find(|line| line.starts_with("concurrency_limit{limit=\"adaptive")).unwrap();
    let limit: usize = limit.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((3..48).contains(&limit), "{limit} for four workers");
    assert!(page.contains("concurrency_baseline_seconds{method=\"shop.v1.Shop/Get\"}"), "{page}");
    drop(client);
    server.forced().await;
}
