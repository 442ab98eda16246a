//! What a caller, or an old call, must not be able to do to everybody else.

use std::sync::Arc;

use highball::Code;
use tokio::sync::Notify;

use super::made::{Recorder, answer, cluster, received, says, settings, text};
use super::peer::{Peer, until};
use super::world::{File, World};
use super::{GET, WATCH};

/// A stream whose backend says nothing for days is no reason to keep the backends of others.
#[tokio::test]
async fn a_call_that_waits_for_its_answer_keeps_no_cluster_but_its_own() {
    let (go, asked) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let (wait, heard) = (go.clone(), asked.clone());
    let slow = Peer::rpcs(move |rpc| {
        let (wait, heard) = (wait.clone(), heard.clone());
        async move {
            let (rpc, _) = received(rpc).await;
            heard.notify_one();
            wait.notified().await;
            answer(rpc, &[b"slow"]);
        }
    })
    .await;
    let other = Recorder::start("other").await;
    let routes = "[[routes]]\nname = 'slow'\npath = '/shop.v1.Shop/Watch'\ncluster = 'slow'\n";
    let all = "[[routes]]\nname = 'all'\ncluster = 'other'\n";
    let kept = cluster("slow", &[slow.addr], "");
    let both = [kept.clone(), cluster("other", &[other.addr()], "")];
    let edge = World::start(&text("workers = 1", &both, &format!("{routes}{all}"))).await;
    edge.all_ready().await;
    let client = Arc::new(edge.client().await);
    let calling = client.clone();
    let call = tokio::spawn(async move { calling.unary(WATCH, b"1").await });
    asked.notified().await;
    assert_eq!(says(&client, GET, &[]).await, "other");
    edge.reloader.reload(settings(&text("workers = 1", &[kept], routes))).unwrap();
    until("the cluster that left is let go", || other.peer.open() == 0).await;
    assert_eq!(slow.open(), 1);
    go.notify_one();
    let reply = call.await.unwrap();
    assert_eq!((reply.code(), &reply.messages[0][..]), (Code::Ok, &b"slow"[..]));
    drop(client);
    edge.drained().await;
}

/// Whoever reads the header behind the edge may take the last of its values.
#[tokio::test]
async fn a_second_value_of_a_header_opens_no_second_budget() {
    let backend = Recorder::start("shop").await;
    let rate = "rate = { per_second = 0.01, burst = 2, per = 'header:x-user' }";
    let edge = File::to(&[backend.addr()]).route(rate).ready().await;
    let client = edge.client().await;
    let mut codes = Vec::new();
    for nth in 0..4 {
        let forged = format!("nobody-{nth}");
        let both = [("x-user", forged.as_str()), ("x-user", "alice")];
        codes.push(client.call(GET, &both, &[b""]).await.code());
    }
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::ResourceExhausted, Code::ResourceExhausted]);
    assert_eq!(says(&client, GET, &[("x-user", "bob")]).await, "shop");
    drop(client);
    edge.drained().await;
}
