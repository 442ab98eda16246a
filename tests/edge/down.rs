//! No backend can be used: callers hear why.

use highball::Code;
use highball::core::envelope::seal;

use super::backend::{answered, host_at, place};
use super::peer::{Peer, is_health, serve_all};
use super::scripted::{head, status};
use super::world::{File, World};
use super::{GET, HELLO, WATCH};

/// A backend that says of every service that it does not serve.
async fn unwell() -> Peer {
    Peer::start(|_, io| {
        serve_all(io, h2::server::Builder::new(), |mut rpc| async move {
            assert!(is_health(&rpc.request), "nobody calls it");
            let mut stream = rpc.respond.send_response(head(), false).unwrap();
            // NOT_SERVING.
            stream.send_data(seal(&[8, 2]), false).unwrap();
            std::future::pending::<()>().await;
            stream.send_trailers(status(Code::Ok)).unwrap();
        })
    })
    .await
}

/// What callers of all kinds hear.
async fn told(edge: &World) -> Vec<String> {
    let client = edge.client().await;
    let mut told = Vec::new();
    for path in [GET, HELLO, WATCH] {
        let reply = client.unary(path, b"ping").await;
        assert_eq!(reply.code(), Code::Unavailable, "{reply:?}");
        told.push(reply.status().message().to_owned());
    }
    told
}

#[tokio::test]
async fn callers_hear_which_cluster_is_down_and_how_many_endpoints_are_out_for_what() {
    let unwell = unwell().await;
    let edge = World::start(&File::to(&[place(), place(), unwell.addr]).cluster("health = ''").text()).await;
    edge.endpoints_are("all are known to be down", |states| {
        states.iter().all(|state| state == "TRANSIENT_FAILURE")
    })
    .await;
    for message in told(&edge).await {
        assert!(message.contains("shop"), "{message}");
        assert!(message.contains("2 of 3") && message.contains("connection refused"), "{message}");
        assert!(message.contains("NOT_SERVING"), "{message}");
        assert!(!message.contains("127.0.0"), "{message}");
    }
    println!("{}", told(&edge).await[0]);
    edge.drained().await;
}

#[tokio::test]
async fn callers_that_come_first_wait_for_the_first_connections_and_hear_it_too() {
    let edge = World::start(&File::to(&[place(), place(), place()]).text()).await;
    for message in told(&edge).await {
        assert!(
            message.contains("shop") && message.contains("3 of 3 endpoints: connection refused"),
            "{message}"
        );
        assert!(!message.contains("127.0.0"), "{message}");
    }
    edge.drained().await;
}

#[tokio::test]
async fn calls_are_answered_again_once_a_backend_is_back() {
    let (gone, kept) = (place(), place());
    let edge = World::start(&File::to(&[gone, kept]).text()).await;
    told(&edge).await;
    let back = host_at(kept, |request| async { answered(request, b"back").await }).await;
    edge.endpoints_are("one is ready", |states| states.iter().any(|state| state == "READY")).await;
    let client = edge.client().await;
    for path in [GET, HELLO, WATCH] {
        let reply = client.unary(path, b"ping").await;
        assert_eq!((reply.code(), &reply.messages[..]), (Code::Ok, &["back".into()][..]), "{reply:?}");
    }
    drop(client);
    edge.drained().await;
    back.drained().await;
}
