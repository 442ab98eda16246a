//! New files while it runs: what is under way ends as it began, and what did not change is not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{StreamExt as _, stream};
use highball::{Body, Code, Status};
use highball_testkit::stub;
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;

use super::backend::host;
use super::made::{Recorder, answer, cluster, received, says, settings, text};
use super::peer::{Peer, until};
use super::world::World;
use super::{CHAT, GET, HELLO};

const TO_KEEP: &str = "[[routes]]\nname = 'all'\ncluster = 'keep'\n";

/// Each reload changes the routes, the split, the clusters beside `keep`, or all of them.
fn turn(nth: usize, backends: &[Recorder; 3]) -> String {
    let [kept, one, two] = backends.each_ref().map(Recorder::addr);
    let other = format!("other{}", nth % 7);
    let targets = [vec![one], vec![two], vec![one, two]];
    let clusters = [cluster("keep", &[kept], ""), cluster(&other, &targets[nth % 3], "")];
    let weight = nth % 5;
    let first = if nth.is_multiple_of(2) {
        format!("[[routes]]\nname = 'hello'\npath = '{HELLO}'\ncluster = '{other}'\n")
    } else {
        String::new()
    };
    let split = format!("[[routes]]\nname = 'all'\nsplit = {{ keep = 2, {other} = {weight} }}\n");
    text("workers = 2", &clusters, &(first + &split))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_under_load_fail_no_call_and_keep_what_is_the_same() {
    let backends =
        [Recorder::start("keep").await, Recorder::start("one").await, Recorder::start("two").await];
    let edge = World::start(&turn(0, &backends)).await;
    let (stop, made) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut load = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let client = edge.client().await;
        let (stop, made) = (stop.clone(), made.clone());
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                says(&client, if caller % 2 == 0 { GET } else { HELLO }, &[]).await;
                made.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for nth in 1..=100 {
        let before = made.load(Ordering::Relaxed);
        let reloaded = edge.reloader.reload(settings(&turn(nth, &backends))).unwrap();
        assert_eq!((reloaded.clusters, reloaded.kept), (2, 1), "reload {nth}");
        until("calls go through the new table", || {
            made.load(Ordering::Relaxed) >= before + 16 || load.is_empty()
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    // One for each worker, for all that time.
    let [kept, one, two] = &backends;
    assert_eq!((kept.peer.made(), kept.peer.open()), (2, 2));
    assert!(one.peer.made() > 20 && two.peer.made() > 20);
    let alone = text("workers = 2", &[cluster("keep", &[kept.addr()], "")], TO_KEEP);
    edge.reloader.reload(settings(&alone)).unwrap();
    until("the connections of removed clusters are closed", || one.peer.open() + two.peer.open() == 0).await;
    assert_eq!((kept.peer.made(), kept.peer.open()), (2, 2));
    assert!(edge.metric("edge_reloads_total{result=\"success\"} 102"));
    edge.drained().await;
}

#[tokio::test]
async fn an_rpc_ends_as_it_would_have_when_its_route_and_cluster_are_gone() {
    let go = Arc::<Notify>::default();
    let (asked, wait) = (Arc::<Notify>::default(), go.clone());
    let heard = asked.clone();
    let slow = Peer::rpcs(move |rpc| {
        let (heard, wait) = (heard.clone(), wait.clone());
        async move {
            let (rpc, _) = received(rpc).await;
            heard.notify_one();
            wait.notified().await;
            answer(rpc, &[b"slow"]);
        }
    })
    .await;
    let fast = Recorder::start("fast").await;
    let route =
        "[[routes]]\nname = 'old'\ncluster = 'old'\nresponse_headers = { set = { x-route = 'old' } }\n";
    let before = text("workers = 1", &[cluster("old", &[slow.addr], "")], route);
    let after = text("workers = 1", &[cluster("keep", &[fast.addr()], "")], TO_KEEP);
    let edge = World::start(&before).await;
    let client = Arc::new(edge.client().await);
    let calling = client.clone();
    let call = tokio::spawn(async move { calling.unary(GET, b"1").await });
    asked.notified().await;
    edge.reloader.reload(settings(&after)).unwrap();
    for _ in 0..20 {
        assert_eq!(says(&client, GET, &[]).await, "fast");
    }
    assert_eq!(slow.open(), 1);
    go.notify_one();
    let reply = call.await.unwrap();
    assert_eq!((reply.code(), &reply.messages[0][..]), (Code::Ok, &b"slow"[..]));
    assert_eq!(reply.headers["x-route"], "old");
    until("the old cluster has closed its connection", || slow.open() == 0).await;
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_stream_goes_on_long_after_its_route_and_cluster_are_gone() {
    let echo = host(|request| async move {
        let echoed = stream::unfold(request.into_body(), |mut body: Body| async move {
            let frame = body.frame().await?;
            Some((frame, body))
        });
        let end = Frame::trailers(Status::new(Code::Ok, "").to_trailers());
        stub::frames(echoed.chain(stream::iter([Ok(end)])))
    })
    .await;
    let fast = Recorder::start("fast").await;
    let clusters = [cluster("old", &[echo.addr()], "")];
    let edge = World::start(&text("workers = 1", &clusters, "[[routes]]\ncluster = 'old'\n")).await;
    let client = edge.client().await;
    let mut call = client.open(CHAT, &[]).await;
    call.send(b"first").await;
    let (mut sender, mut answer) = call.head().await;
    assert_eq!(answer.message().await.unwrap().unwrap(), "first");
    for nth in 0..30 {
        let clusters = [cluster("keep", &[fast.addr()], "")];
        let weight = nth + 1;
        let route = format!("[[routes]]\nsplit = {{ keep = {weight} }}\n");
        edge.reloader.reload(settings(&text("workers = 1", &clusters, &route))).unwrap();
        let message = format!("after {nth}");
        sender.send_data(highball::core::envelope::seal(message.as_bytes())).await.unwrap();
        assert_eq!(answer.message().await.unwrap().unwrap(), message);
        assert_eq!(says(&client, GET, &[]).await, "fast");
    }
    assert!(echo.telemetry.render().contains("\nconnections_open 1\n"));
    drop(sender);
    assert_eq!(answer.message().await.unwrap(), None);
    assert_eq!(answer.status().unwrap().code(), Code::Ok);
    until("the old cluster has closed its connection", || {
        echo.telemetry.render().contains("\nconnections_open 0\n")
    })
    .await;
    drop((answer, client));
    edge.drained().await;
    echo.drained().await;
}

#[tokio::test]
async fn what_cannot_change_is_refused_with_the_reason_and_nothing_changes() {
    let (kept, other) = (Recorder::start("keep").await, Recorder::start("other").await);
    let first = text("workers = 1", &[cluster("keep", &[kept.addr()], "")], TO_KEEP);
    let edge = World::start(&first).await;
    // With another target, which must not come into force either.
    let second = text("workers = 1", &[cluster("keep", &[other.addr()], "")], TO_KEEP);
    let listener = "[[listeners]]\naddress = '127.0.0.2:0'\n";
    for (key, changed) in [
        ("listeners", second.replace("[clusters.keep]", &format!("{listener}[clusters.keep]"))),
        ("limits", second.clone() + "[limits]\nconcurrent_rpcs_max = 7\n"),
        ("descriptors", second.replace("admin =", "descriptors = 'no.binpb'\nadmin =")),
        ("workers", second.replace("workers = 1", "workers = 2")),
        ("admin", second.replace("admin = '127.0.0.1:0'", "admin = '127.0.0.2:0'")),
        ("health", second.replace("admin =", "health = '127.0.0.1:0'\nadmin =")),
    ] {
        let error = edge.reloader.reload(settings(&changed)).unwrap_err();
        let [problem] = error.problems() else { panic!("{error}") };
        assert!(problem.starts_with(key) && problem.contains("cannot change while it runs"), "{problem}");
        assert_eq!(says(&edge.client().await, GET, &[]).await, "keep", "{key}");
    }
    assert!(edge.metric("edge_reloads_total{result=\"failure\"} 6"));
    assert_eq!((kept.peer.made(), other.peer.made()), (1, 0));
    // What may change, does.
    edge.reloader.reload(settings(&second.replace("admin =", "trusted_hops = 1\nadmin ="))).unwrap();
    assert_eq!(says(&edge.client().await, GET, &[("x-forwarded-for", "203.0.113.9")]).await, "other");
    assert_eq!(other.last().all("x-real-ip"), ["203.0.113.9"]);
    edge.drained().await;
}

#[tokio::test]
async fn a_file_with_one_bad_cluster_is_refused_whole() {
    let (kept, other) = (Recorder::start("keep").await, Recorder::start("other").await);
    let first = text("workers = 2", &[cluster("keep", &[kept.addr()], "")], TO_KEEP);
    let edge = World::start(&first).await;
    let clusters = [
        cluster("keep", &[other.addr()], ""),
        cluster("fresh", &[other.addr()], ""),
        cluster("bad", &[other.addr()], "tls = { ca = '/nowhere/ca.pem' }"),
    ];
    let routes = "[[routes]]\nname = 'all'\nsplit = { keep = 1, fresh = 1, bad = 1 }\n";
    let error = edge.reloader.reload(settings(&text("workers = 2", &clusters, routes))).unwrap_err();
    let [problem] = error.problems() else { panic!("{error}") };
    assert!(problem.starts_with("cluster bad: ") && problem.contains("/nowhere/ca.pem"), "{problem}");
    let names: Vec<String> = edge.reloader.clusters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["keep"]);
    for _ in 0..10 {
        assert_eq!(says(&edge.client().await, GET, &[]).await, "keep");
    }
    assert_eq!(other.peer.made(), 0);
    edge.drained().await;
}

#[tokio::test]
async fn budgets_outlive_a_reload_that_does_not_change_them() {
    let backend = Recorder::start("keep").await;
    let file = |rate: &str, more: &str| {
        let routes = format!("[[routes]]\nname = 'metered'\ncluster = 'keep'\nrate = {rate}\n{more}");
        settings(&text("workers = 1", &[cluster("keep", &[backend.addr()], "")], &routes))
    };
    let slow = "{ per_second = 0.001, burst = 3 }";
    let edge = World::run(highball_edge::Edge::new(file(slow, ""))).await;
    let client = edge.client().await;
    says(&client, GET, &[]).await;
    edge.reloader.reload(file(slow, "retry = false\n")).unwrap();
    says(&client, GET, &[]).await;
    edge.reloader.reload(file(slow, "mirror = 'keep'\n")).unwrap();
    says(&client, GET, &[]).await;
    assert_eq!(client.unary(GET, b"").await.code(), Code::ResourceExhausted);
    edge.reloader.reload(file("{ per_second = 0.001, burst = 4 }", "")).unwrap();
    says(&client, GET, &[]).await;
    drop(client);
    edge.drained().await;
}
