//! A service over a database in a temporary directory, and clients for it.

use std::sync::Arc;
use std::time::Duration;

use buffa::Message;
use connectrpc::client::{CallOptions, ClientConfig, ServiceTransport};
use connectrpc::{ConnectError, ConnectRpcBody, ConnectRpcService, ErrorCode, Protocol};
use highball::net::Phase;
use highball::{Counter, Drain, Health};
use orders::proto::ecommerce::v1::{CreateOrderRequest, Order, OrderItem, OrderServiceClient};
use orders::proto::google::rpc::{BadRequest, ErrorInfo, ResourceInfo};
use orders::proto::{greeter, user};
use orders::{App, Database, Seams};
use tempfile::TempDir;
use tower::util::MapResponse;

type Reply = http::Response<ConnectRpcBody>;

pub(crate) type Transport = ServiceTransport<MapResponse<ConnectRpcService, fn(Reply) -> Reply>>;

/// Does what the server in front does: an early error of a stream has its code in the head as well, without
/// details, and there clients would stop reading.
fn genuine(mut reply: Reply) -> Reply {
    for name in ["grpc-status", "grpc-message"] {
        reply.headers_mut().remove(name);
    }
    reply
}

pub(crate) struct World {
    app: Option<App>,
    /// Shared with its [replicas](World::replica).
    dir: Arc<TempDir>,
    patience: Duration,
    drain: Arc<Drain>,
    pub(crate) health: Health,
    pub(crate) orders_created: Counter,
    pub(crate) users_created: Counter,
    pub(crate) writes_dropped: Counter,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap()), Duration::from_millis(50)).await
    }

    /// One that shares its file, and waits for the others as long as it takes.
    pub(crate) async fn shared() -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap()), Duration::from_secs(30)).await
    }

    /// Another service over the same file.
    pub(crate) async fn replica(&self) -> Self {
        Self::over(self.dir.clone(), self.patience).await
    }

    async fn over(dir: Arc<TempDir>, patience: Duration) -> Self {
        let mut world = Self {
            app: None,
            dir,
            patience,
            drain: Arc::default(),
            health: Health::new(),
            orders_created: Counter::default(),
            users_created: Counter::default(),
            writes_dropped: Counter::default(),
        };
        world.start().await;
        world
    }

    async fn start(&mut self) {
        let seams = Seams {
            draining: self.drain.listen(),
            database: self.health.ready_when("database"),
            orders_created: self.orders_created.clone(),
            users_created: self.users_created.clone(),
            writes_dropped: self.writes_dropped.clone(),
        };
        self.app = Some(App::open(&self.database(), seams).await.unwrap());
    }

    pub(crate) fn database(&self) -> Database {
        Database::sqlite(self.dir.path().join("orders.db")).with_busy_timeout(self.patience)
    }

    pub(crate) async fn close(&mut self) {
        self.app.take().unwrap().close().await;
    }

    pub(crate) async fn restart(&mut self) {
        self.close().await;
        self.start().await;
    }

    pub(crate) fn drain(&self) {
        self.drain.advance(Phase::Draining);
    }

    fn transport(&self) -> Transport {
        ServiceTransport::new(MapResponse::new(self.app.as_ref().unwrap().service(), genuine))
    }

    pub(crate) fn orders(&self) -> OrderServiceClient<Transport> {
        OrderServiceClient::new(self.transport(), config())
    }

    pub(crate) fn users_v1(&self) -> user::v1::UserServiceClient<Transport> {
        user::v1::UserServiceClient::new(self.transport(), config())
    }

    pub(crate) fn users_v2(&self) -> user::v2::UserServiceClient<Transport> {
        user::v2::UserServiceClient::new(self.transport(), config())
    }

    pub(crate) fn greeter(&self) -> greeter::GreeterClient<Transport> {
        greeter::GreeterClient::new(self.transport(), config())
    }

    /// Creates an order of one item.
    pub(crate) async fn an_order(&self) -> Order {
        self.orders().create_order(request("ada", &[(1, 9.99)])).await.unwrap().into_owned()
    }
}

fn config() -> ClientConfig {
    ClientConfig::new("http://orders".parse().unwrap()).with_protocol(Protocol::Grpc)
}

pub(crate) fn request(user: &str, items: &[(i32, f64)]) -> CreateOrderRequest {
    let items = (1..).zip(items).map(|(number, (quantity, price))| OrderItem {
        product_id: format!("product-{number}"),
        quantity: *quantity,
        price: *price,
        ..Default::default()
    });
    CreateOrderRequest { user_id: user.into(), items: items.collect(), ..Default::default() }
}

/// Call options with an idempotency key.
pub(crate) fn key(key: &str) -> CallOptions {
    CallOptions::default().with_header("idempotency-key", key)
}

/// Fields and sentences of a BadRequest.
pub(crate) fn fields(error: &ConnectError) -> Vec<(String, String)> {
    assert_eq!(error.code, ErrorCode::InvalidArgument, "{error:?}");
    let bad: BadRequest = detail(error, "google.rpc.BadRequest");
    bad.field_violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

/// Kind and name of a ResourceInfo.
pub(crate) fn resource(error: &ConnectError) -> (String, String) {
    let info: ResourceInfo = detail(error, "google.rpc.ResourceInfo");
    (info.resource_type, info.resource_name)
}

/// Reason of an ErrorInfo.
pub(crate) fn reason(error: &ConnectError) -> String {
    let info: ErrorInfo = detail(error, "google.rpc.ErrorInfo");
    assert_eq!(info.domain, "orders.highball.rs");
    info.reason
}

fn detail<M: Message + Default>(error: &ConnectError, name: &str) -> M {
    use base64::Engine as _;
    let found = error.details.iter().find(|detail| detail.type_url.ends_with(name));
    let found = found.unwrap_or_else(|| panic!("no {name} in {error:?}"));
    let bytes =
        base64::engine::general_purpose::STANDARD_NO_PAD.decode(found.value.as_ref().unwrap()).unwrap();
    M::decode_from_slice(&bytes).unwrap()
}
