//! The door: one generic host carries a tonic service and a connectrpc service, and neither knows.
//!
//! Both are driven by both client libraries, over real sockets, through the same walk.

#![expect(clippy::unwrap_used, reason = "helpers of tests outside `#[test]` functions")]

mod services;

use std::time::Duration;

use highball::{Body, Channel, Server, Settings};
use highball_testkit::TestServer;
use highball_tests::SHOP_DESCRIPTORS;
use highball_tests::connect_gen::shop::v1 as connect;
use highball_tests::tonic_gen::shop::shop_client::ShopClient;
use highball_tests::tonic_gen::shop::{GetRequest, Item};
use http::{Request, Response};
use tonic_types::StatusExt as _;

/// The one place where a service enters. What it accepts is the door.
async fn host<S, B>(service: S) -> TestServer
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error = std::convert::Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<highball::core::BoxError>,
{
    let settings = Settings { deadline_default: Duration::from_millis(500), ..Settings::default() };
    TestServer::start(Server::new(service).with_descriptors(SHOP_DESCRIPTORS).with_settings(settings)).await
}

/// Drives both its own channel and ours.
async fn drive_tonic(server: &TestServer) {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.addr())).unwrap();
    drive_tonic_client(ShopClient::new(endpoint.connect().await.unwrap())).await;
    drive_tonic_client(ShopClient::new(channel(server))).await;
}

fn channel(server: &TestServer) -> Channel {
    Channel::new(&format!("static:///{}", server.addr())).unwrap()
}

async fn drive_tonic_client<C>(mut client: ShopClient<C>)
where
    C: tonic::client::GrpcService<tonic::body::Body>,
    C::Error: Into<tonic::codegen::StdError>,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let get = |id: &str| GetRequest { id: id.to_owned() };
    assert_eq!(client.get(get("a")).await.unwrap().into_inner().cents, 7);

    let mut items = client.watch(get("a")).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(item) = items.message().await.unwrap() {
        seen.push(item.cents);
    }
    assert_eq!(seen, [0, 1, 2]);

    let item = |cents| Item { id: String::new(), cents };
    let total = client.upload(tokio_stream::iter([item(1), item(2)])).await.unwrap().into_inner();
    assert_eq!(total.cents, 3);

    let mut echoed = client.chat(tokio_stream::iter([item(5), item(6)])).await.unwrap().into_inner();
    assert_eq!(echoed.message().await.unwrap().unwrap().cents, 5);
    assert_eq!(echoed.message().await.unwrap().unwrap().cents, 6);
    assert_eq!(echoed.message().await.unwrap(), None);

    let status = client.get(get("missing")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, "no such item"));
    let resource =
        status.get_details_resource_info().expect("details reach this client in a genuine trailers-only");
    assert_eq!((resource.resource_type.as_str(), resource.resource_name.as_str()), ("item", "missing"));

    // The server's own default: this client would report a deadline it set itself as CANCELLED.
    let status = client.get(get("slow")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert!(status.message().contains("deadline_default"), "{status}");

    let status = client.get(get("panic")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (tonic::Code::Internal, "internal error"));
}

async fn drive_connect(server: &TestServer) {
    let base: http::Uri = format!("http://{}", server.addr()).parse().unwrap();
    let transport =
        connectrpc::client::Http2Connection::connect_plaintext(base.clone()).await.unwrap().shared(16);
    let config = connectrpc::client::ClientConfig::new(base).with_protocol(connectrpc::Protocol::Grpc);
    drive_connect_client(connect::ShopClient::new(transport, config.clone())).await;
    let transport = connectrpc::client::ServiceTransport::new(channel(server));
    drive_connect_client(connect::ShopClient::new(transport, config)).await;
}

async fn drive_connect_client<T: connectrpc::client::ClientTransport>(client: connect::ShopClient<T>)
where
    T::ResponseBody: Unpin,
    <T::ResponseBody as http_body::Body>::Error: std::fmt::Display,
{
    let get = |id: &str| connect::GetRequest { id: id.to_owned(), ..Default::default() };
    assert_eq!(client.get(get("a")).await.unwrap().into_owned().cents, 7);
    let mut items = client.watch(get("a")).await.unwrap();
    let mut seen = 0;
    while items.message().await.unwrap().is_some() {
        seen += 1;
    }
    assert_eq!(seen, 3);
    let error = client.get(get("missing")).await.unwrap_err();
    assert_eq!((error.code, error.details.len()), (connectrpc::ErrorCode::NotFound, 1));
    let options = connectrpc::client::CallOptions::default().with_timeout(Duration::from_millis(50));
    let error = client.get_with_options(get("slow"), options).await.unwrap_err();
    assert_eq!(error.code, connectrpc::ErrorCode::DeadlineExceeded);
}

#[tokio::test]
async fn a_tonic_service_is_hosted() {
    let server = host(services::tonic_routes()).await;
    drive_tonic(&server).await;
    drive_connect(&server).await;
    server.forced().await;
}

#[tokio::test]
async fn a_connectrpc_service_is_hosted() {
    let server = host(services::connect_service()).await;
    drive_tonic(&server).await;
    drive_connect(&server).await;
    server.forced().await;
}

#[tokio::test]
async fn a_stack_of_the_users_own_layers_is_hosted() {
    let stack = tower::ServiceBuilder::new()
        .map_request(|mut request: Request<Body>| {
            request.headers_mut().insert("x-layer", http::HeaderValue::from_static("seen"));
            request
        })
        .service(services::tonic_routes());
    let server = host(stack).await;
    drive_tonic(&server).await;
    server.forced().await;
}
