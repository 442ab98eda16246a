//! The client library against the service.

use futures_util::{StreamExt as _, stream};
use highball::Code;
use orders::client::Detail;
use orders::proto::ecommerce::v1::{CreateOrderRequest, ListOrdersRequest, OrderStatus};
use orders::proto::user::v2::CreateUserRequest;

use crate::service::{Service, step, tea};
use crate::soon;

#[tokio::test]
async fn every_call_of_the_service_is_reached() {
    let service = Service::start().await;
    let client = service.client();
    assert_eq!(soon(client.hello("Rail")).await.unwrap(), "Hello Rail");
    let order = soon(client.create_order(tea("ada"))).await.unwrap();
    assert_eq!(order.total_amount, 7.0);
    assert_eq!(soon(client.get_order(&order.id)).await.unwrap(), order);

    let mut watch = soon(client.watch_order(&order.id)).await.unwrap();
    soon(watch.next()).await.unwrap();
    let steps = [OrderStatus::Shipped, OrderStatus::Cancelled].map(|to| step(&order.id, to));
    let answers: Vec<_> = soon(client.process_orders(stream::iter(steps)).collect()).await;
    let done: Vec<bool> = answers.into_iter().map(|answer| answer.unwrap().success).collect();
    assert_eq!(done, [false, true], "a pending order can be cancelled, not shipped");
    let last = soon(watch.next()).await.unwrap().unwrap();
    assert_eq!(last.order.as_option().unwrap().status.as_known(), Some(OrderStatus::Cancelled));
    assert!(soon(watch.next()).await.unwrap().is_none());

    let ada = CreateUserRequest { email: "ada@b.example".into(), name: "Ada".into(), ..Default::default() };
    assert_eq!(soon(client.users().create_user(ada)).await.unwrap().into_owned().name, "Ada");
}

#[tokio::test]
async fn pages_and_batches() {
    let service = Service::start().await;
    let client = service.client();
    let bad = CreateOrderRequest { user_id: "bob".into(), ..Default::default() };
    let batch = stream::iter([tea("bob"), bad, tea("bob"), tea("bob")]);
    let answer = soon(client.batch_create_orders_once("batch-1", batch)).await.unwrap();
    assert_eq!((answer.success_count, answer.failure_count), (3, 1));
    let again = stream::iter([tea("bob"), CreateOrderRequest::default(), tea("bob"), tea("bob")]);
    assert_eq!(soon(client.batch_create_orders_once("batch-1", again)).await.unwrap().orders, answer.orders);

    let mut ask = ListOrdersRequest { user_id: "bob".into(), page_size: 2, ..Default::default() };
    let first = soon(client.list_orders(ask.clone())).await.unwrap();
    ask.page_token = first.next_page_token.unwrap();
    let second = soon(client.list_orders(ask)).await.unwrap();
    assert_eq!((first.orders.len(), second.orders.len(), second.next_page_token), (2, 1, None));
}

#[tokio::test]
async fn steps_can_follow_from_answers() {
    let service = Service::start().await;
    let client = service.client();
    let id = soon(client.create_order(tea("ada"))).await.unwrap().id;
    let (next, steps) = tokio::sync::mpsc::channel(1);
    let steps = stream::unfold(steps, |mut steps| async move { Some((steps.recv().await?, steps)) });
    let mut answers = std::pin::pin!(client.process_orders(steps));
    for to in [OrderStatus::Confirmed, OrderStatus::Shipped, OrderStatus::Delivered] {
        next.send(step(&id, to)).await.unwrap();
        assert!(soon(answers.next()).await.unwrap().unwrap().success, "{to:?}");
    }
    drop(next);
    assert!(soon(answers.next()).await.is_none());
}

#[tokio::test]
async fn failures_are_typed() {
    let service = Service::start().await;
    let client = service.client();
    let error = soon(client.create_order(CreateOrderRequest::default())).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let fields: Vec<&str> = error.fields().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["user_id", "items"]);

    let error = soon(client.get_order("nowhere")).await.unwrap_err();
    let [Detail::ResourceInfo(info)] = error.details() else { panic!("{error:?}") };
    assert_eq!((error.code(), info.resource_name.as_str()), (Code::NotFound, "nowhere"));

    soon(client.create_order_once("mine", tea("ada"))).await.unwrap();
    let other = CreateOrderRequest { items: [tea("ada").items, tea("ada").items].concat(), ..tea("ada") };
    let error = soon(client.create_order_once("mine", other)).await.unwrap_err();
    assert!(error.code() == Code::FailedPrecondition && error.is_key_reused(), "{error}");

    let mut watch = match soon(client.watch_order("nowhere")).await {
        Ok(watch) => watch,
        Err(error) => {
            assert_eq!(error.code(), Code::NotFound);
            return;
        }
    };
    assert_eq!(soon(watch.next()).await.unwrap_err().code(), Code::NotFound);
}
