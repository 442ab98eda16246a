//! Copies: the same call again, for somebody whose answer nobody waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highball::Code;

use super::backend::place;
use super::made::{Recorder, answer, cluster, received, says, text};
use super::peer::{Peer, until};
use super::scripted::{Act, Scripted};
use super::world::World;
use super::{GET, UPLOAD, WATCH};

fn file(original: std::net::SocketAddr, copies: std::net::SocketAddr, mirror: &str) -> String {
    let clusters = [cluster("shop", &[original], ""), cluster("shadow", &[copies], "")];
    text(
        "workers = 1",
        &clusters,
        &format!("[[routes]]\nname = 'shop'\ncluster = 'shop'\nmirror = {mirror}\n"),
    )
}

#[tokio::test]
async fn a_copy_has_the_body_and_the_headers_of_its_original() {
    let (shop, shadow) = (Recorder::start("shop").await, Recorder::start("shadow").await);
    let edge = World::start(&file(shop.addr(), shadow.addr(), "'shadow'")).await;
    let client = edge.client().await;
    let headers = [("x-user", "7"), ("x-user", "8"), ("key-bin", "AAEC"), ("grpc-timeout", "20S")];
    let reply = client.call(UPLOAD, &headers, &[b"one", &[7; 70_000], b"three"]).await;
    assert_eq!((reply.code(), &reply.messages[0][..]), (Code::Ok, &b"shop"[..]));
    until("the copy has come", || !shadow.seen().is_empty()).await;
    let (mut one, mut two) = (shop.last(), shadow.last());
    // The time that is left is not the same.
    one.headers.remove("grpc-timeout").zip(two.headers.remove("grpc-timeout")).expect("both have one");
    assert_eq!((one.headers, one.uri), (two.headers, two.uri));
    assert_eq!(one.body, two.body);
    assert_eq!(two.body.len(), 3 * 5 + 3 + 70_000 + 5);
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_copy_of_many_small_messages_is_whole() {
    let (shop, shadow) = (Recorder::start("shop").await, Recorder::start("shadow").await);
    let edge = World::start(&file(shop.addr(), shadow.addr(), "'shadow'")).await;
    let client = edge.client().await;
    let mut call = client.open(UPLOAD, &[]).await;
    for _ in 0..1000 {
        call.send(b"tiny").await;
    }
    let mut reply = call.half_closed().await;
    assert_eq!(reply.message().await.unwrap().unwrap(), "shop");
    until("the copy has come", || !shadow.seen().is_empty()).await;
    assert_eq!((shop.last().body.len(), shadow.last().body.len()), (9_000, 9_000));
    assert!(!edge.metric("edge_mirrors_given_up_total{"));
    drop((reply, client));
    edge.drained().await;
}

#[tokio::test]
async fn the_original_does_not_feel_what_becomes_of_its_copy() {
    let shop = Recorder::start("shop").await;
    let hangs = Scripted::start(&[Act::Hang]).await;
    let fails = Scripted::start(&[Act::Fail(Code::Internal, None)]).await;
    let resets = Scripted::start(&[Act::Reset(h2::Reason::INTERNAL_ERROR)]).await;
    for copies in [hangs.addr, fails.addr, resets.addr, place()] {
        let edge = World::start(&file(shop.addr(), copies, "'shadow'")).await;
        let client = edge.client().await;
        for _ in 0..20 {
            assert_eq!(says(&client, GET, &[]).await, "shop");
        }
        for backend in [&fails, &resets].into_iter().filter(|backend| backend.addr == copies) {
            until("every copy has come", || backend.attempts() >= 20).await;
        }
        drop(client);
        edge.drained().await;
    }
    // Copies are made once, whatever the answer.
    assert_eq!((fails.attempts(), resets.attempts()), (20, 20));
}

#[tokio::test]
async fn copies_beyond_the_bound_are_not_made_and_are_counted() {
    let shop = Recorder::start("shop").await;
    let shadow = Scripted::start(&[Act::Hang]).await;
    let edge = World::start(&file(shop.addr(), shadow.addr, "{ cluster = 'shadow', calls_max = 2 }")).await;
    let client = edge.client().await;
    for _ in 0..5 {
        assert_eq!(says(&client, GET, &[]).await, "shop");
    }
    until("two copies have come", || shadow.attempts() == 2).await;
    assert!(edge.metric("edge_mirrors_skipped_total{route=\"shop\"} 3"));
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_share_of_the_calls_is_copied() {
    let (shop, shadow) = (Recorder::start("shop").await, Recorder::start("shadow").await);
    let mirror = "{ cluster = 'shadow', percent = 25, calls_max = 100000 }";
    let edge = World::start(&file(shop.addr(), shadow.addr(), mirror)).await;
    let client = edge.client().await;
    for _ in 0..400 {
        says(&client, GET, &[]).await;
    }
    drop(client);
    edge.drained().await;
    // 100 with a standard deviation of 9. The last may have been cut.
    let copies = shadow.seen().len();
    assert!((30..=170).contains(&copies), "{copies} of 400");
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_copy_as_well() {
    let (shop, shadow) = (Scripted::start(&[Act::Hang]).await, Scripted::start(&[Act::Hang]).await);
    let edge = World::start(&file(shop.addr, shadow.addr, "'shadow'")).await;
    let client = edge.client().await;
    // Its request is complete, and not: the end of neither is left to time.
    for (nth, complete) in [(1, true), (2, false)] {
        let mut call = client.open(WATCH, &[]).await;
        call.send(b"hello").await;
        let call = tokio::spawn(async move {
            if complete {
                call.half_closed().await;
            } else {
                call.head().await;
            }
        });
        until("both have come", || shop.attempts() == nth && shadow.attempts() == nth).await;
        call.abort();
        let soon = Duration::from_secs(20);
        tokio::time::timeout(soon, shop.cancelled(nth)).await.expect("the original ends");
        tokio::time::timeout(soon, shadow.cancelled(nth)).await.expect("the copy ends");
    }
    drop(client);
    edge.drained().await;
}

#[tokio::test]
async fn a_copy_that_its_backend_does_not_read_is_given_up_and_the_original_goes_on() {
    let given_up = Arc::<AtomicUsize>::default();
    let noted = given_up.clone();
    let shadow = Peer::rpcs(move |mut rpc| {
        let noted = noted.clone();
        async move {
            // Reads nothing.
            if std::future::poll_fn(|cx| rpc.respond.poll_reset(cx)).await.is_ok() {
                noted.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let taken = Arc::<AtomicUsize>::default();
    let counted = taken.clone();
    let shop = Peer::rpcs(move |rpc| {
        let counted = counted.clone();
        async move {
            let (rpc, one) = received(rpc).await;
            counted.store(one.body.len(), Ordering::SeqCst);
            answer(rpc, &[b"shop"]);
        }
    })
    .await;
    let edge = World::start(&file(shop.addr, shadow.addr, "'shadow'")).await;
    let client = edge.client().await;
    let mut call = client.open(UPLOAD, &[]).await;
    let message = vec![1; 64 << 10];
    for _ in 0..32 {
        call.send(&message).await;
    }
    // 2 MiB are under way: what the copy may hold, and the windows behind it, are much less.
    until("the copy is given up", || given_up.load(Ordering::SeqCst) == 1).await;
    for _ in 0..480 {
        call.send(&message).await;
    }
    let mut reply = call.half_closed().await;
    assert_eq!(reply.message().await.unwrap().unwrap(), "shop");
    assert_eq!(reply.message().await.unwrap(), None);
    assert_eq!(reply.status().unwrap().code(), Code::Ok);
    assert_eq!(taken.load(Ordering::SeqCst), 512 * ((64 << 10) + 5));
    assert!(edge.metric("edge_mirrors_given_up_total{route=\"shop\"} 1"));
    drop((reply, client));
    edge.drained().await;
}
