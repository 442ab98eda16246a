//! Retries, keys, deadlines and watches, against a server that follows a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use buffa::Message as _;
use futures_util::{StreamExt as _, stream};
use highball::channel::ServiceConfig;
use highball::core::envelope::seal;
use highball::{Body, Code, Server, Status};
use highball_testkit::{TestServer, stub};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use orders::client::{OrdersClient, SERVICE_CONFIG};
use orders::proto::ecommerce::v1::{Order, OrderStatus, OrderUpdate};

use crate::service::{step, tea};
use crate::soon;

/// What the server does with a call.
enum Act {
    Fail(Code),
    /// Answers a call for an order.
    Answer,
    /// These updates, then this code.
    Updates(&'static [OrderStatus], Code),
    Hang,
}

/// Path and `idempotency-key` of the calls there were.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A server that acts as told, one call after the other, and as it did last from then on.
async fn server(script: Vec<Act>) -> (TestServer, OrdersClient, Seen) {
    let seen = Seen::default();
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let noted = seen.clone();
    let service = stub::service(move |request: Request<Body>| {
        let (script, noted) = (script.clone(), noted.clone());
        async move {
            let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
            noted.lock().unwrap().push((request.uri().path().to_owned(), key));
            // Read to the end, as services do.
            request.into_body().collect().await.ok();
            let act = {
                let mut script = script.lock().unwrap();
                if script.len() > 1 { script.pop_front().unwrap() } else { copy(&script[0]) }
            };
            play(act).await
        }
    });
    let server = TestServer::start(Server::new(service).with_descriptors(orders::DESCRIPTORS)).await;
    let client = OrdersClient::connect(&format!("static:///{}", server.addr())).unwrap();
    (server, client, seen)
}

fn copy(act: &Act) -> Act {
    match act {
        Act::Fail(code) => Act::Fail(*code),
        Act::Answer => Act::Answer,
        Act::Updates(updates, code) => Act::Updates(updates, *code),
        Act::Hang => Act::Hang,
    }
}

async fn play(act: Act) -> Response<Body> {
    match act {
        Act::Fail(code) => Status::new(code, "as the script has it").into_response(),
        Act::Answer => stub::messages(&[&order(OrderStatus::Pending).encode_to_vec()]),
        Act::Updates(updates, code) => {
            let updates = updates.iter().map(|status| {
                let update = OrderUpdate { order: order(*status).into(), ..Default::default() };
                Ok(Frame::data(seal(&update.encode_to_vec())))
            });
            let end = Frame::trailers(Status::new(code, "").to_trailers());
            stub::frames(stream::iter(updates.collect::<Vec<_>>()).chain(stream::iter([Ok(end)])))
        }
        Act::Hang => std::future::pending().await,
    }
}

fn order(status: OrderStatus) -> Order {
    Order { id: "7".into(), status: status.into(), ..Default::default() }
}

fn keys(seen: &Seen) -> Vec<String> {
    seen.lock().unwrap().iter().map(|(_, key)| key.clone().expect("a key")).collect()
}

#[tokio::test]
async fn an_order_is_sent_again_with_the_same_key_and_the_next_has_another() {
    let (server, client, seen) = server(vec![Act::Fail(Code::Unavailable), Act::Answer]).await;
    assert_eq!(soon(client.create_order(tea("ada"))).await.unwrap().id, "7");
    soon(client.create_order(tea("ada"))).await.unwrap();
    let keys = keys(&seen);
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
    assert_eq!(keys[0].as_bytes()[14], b'7', "a UUID of version 7: {}", keys[0]);
    server.forced().await;
}

#[tokio::test]
async fn a_batch_and_a_user_are_repeated_under_a_key_as_well() {
    let (server, client, seen) = server(vec![Act::Fail(Code::Unavailable), Act::Fail(Code::Aborted)]).await;
    let error = soon(client.batch_create_orders(stream::iter([tea("ada")]))).await.unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    let batch = keys(&seen);
    assert!(batch.len() == 2 && batch[0] == batch[1], "{batch:?}");
    soon(client.users().create_user(Default::default())).await.unwrap_err();
    assert_eq!(keys(&seen).len(), 3);
    server.forced().await;
}

#[tokio::test]
async fn a_key_of_the_callers_is_sent_as_it_is() {
    let (server, client, seen) = server(vec![Act::Answer]).await;
    soon(client.create_order_once("order-1", tea("ada"))).await.unwrap();
    assert_eq!(keys(&seen), ["order-1"]);
    let error = soon(client.create_order_once("two words", tea("ada"))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(keys(&seen).len(), 1, "nothing was sent without the key that was meant");
    server.forced().await;
}

#[tokio::test]
async fn a_read_is_repeated_and_a_move_is_not() {
    let (server, client, seen) = server(vec![Act::Fail(Code::Unavailable), Act::Answer]).await;
    soon(client.get_order("7")).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
    server.forced().await;

    let (server, client, seen) = self::server(vec![Act::Fail(Code::Unavailable)]).await;
    let steps = stream::iter([step("7", OrderStatus::Confirmed)]);
    let answers: Vec<_> = soon(client.process_orders(steps).collect()).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].as_ref().unwrap_err().code(), Code::Unavailable);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, [("/ecommerce.v1.OrderService/ProcessOrders".to_owned(), None)]);
    server.forced().await;
}

#[tokio::test]
async fn a_watch_goes_on_at_the_next_server_and_tells_nothing_twice() {
    const PENDING: OrderStatus = OrderStatus::Pending;
    const CONFIRMED: OrderStatus = OrderStatus::Confirmed;
    const DELIVERED: OrderStatus = OrderStatus::Delivered;
    let (server, client, seen) = server(vec![
        Act::Updates(&[PENDING], Code::Unavailable),
        Act::Updates(&[PENDING, CONFIRMED], Code::Unavailable),
        Act::Updates(&[CONFIRMED, DELIVERED], Code::Ok),
    ])
    .await;
    let mut watch = soon(client.watch_order("7")).await.unwrap();
    let mut updates = Vec::new();
    while let Some(update) = soon(watch.next()).await.unwrap() {
        updates.push(update.order.as_option().unwrap().status.as_known().unwrap());
    }
    assert_eq!(updates, [PENDING, CONFIRMED, DELIVERED]);
    assert_eq!(seen.lock().unwrap().len(), 3);
    server.forced().await;
}

#[tokio::test]
async fn a_watch_that_brings_no_news_is_given_up() {
    let (server, client, seen) = server(vec![Act::Updates(&[OrderStatus::Pending], Code::Unavailable)]).await;
    let mut watch = soon(client.watch_order("7")).await.unwrap();
    assert!(soon(watch.next()).await.unwrap().is_some());
    assert_eq!(soon(watch.next()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(seen.lock().unwrap().len(), 6, "the first, and five more");
    server.forced().await;
}

#[tokio::test]
async fn a_deadline_says_what_the_time_went_into() {
    let (server, client, _) = server(vec![Act::Hang]).await;
    let client = client.with_deadline(Duration::from_millis(300));
    let error = soon(client.hello("ada")).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.message().contains("300ms"), "{error}");
    server.forced().await;
}

#[tokio::test]
async fn the_service_config_is_in_force_and_streams_have_no_deadline() {
    let config = ServiceConfig::parse(SERVICE_CONFIG).unwrap();
    let (server, client, _) = server(vec![Act::Answer]).await;
    soon(client.get_order("7")).await.unwrap();
    let timeout = |path: &str| {
        let method = highball::core::Method::parse(&path.parse().unwrap()).unwrap();
        let effective = client.as_channel().method_config(&method).unwrap();
        assert_eq!(effective.timeout, config.method(&method).timeout, "{path}");
        effective.timeout.map(|timeout| timeout.as_secs())
    };
    let of = |method: &str| timeout(&format!("/ecommerce.v1.OrderService/{method}"));
    assert_eq!([of("CreateOrder"), of("GetOrder"), of("ListOrders")], [Some(5), Some(5), Some(10)]);
    assert_eq!([of("BatchCreateOrders"), of("WatchOrder"), of("ProcessOrders")], [Some(60), None, None]);
    assert_eq!(timeout("/greeter.Greeter/SayHello"), Some(5));
    server.forced().await;
}
