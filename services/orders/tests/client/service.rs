//! The service for the length of a test.

use highball::ListenAddr;
use highball::net::Os;
use orders::client::OrdersClient;
use orders::proto::ecommerce::v1::{CreateOrderRequest, OrderItem, OrderStatus, ProcessOrderRequest};
use orders::{Database, Plan, Security};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A running service, stopped when it is dropped.
pub(crate) struct Service {
    pub(crate) target: String,
    pub(crate) dir: TempDir,
    _run: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            admin: None,
            database: Database::sqlite(dir.path().join("orders.db")),
            settings: highball::Settings::default(),
            security: Security::default(),
            platform: Os::shared(),
        };
        let bound = plan.bind().await.unwrap();
        let ListenAddr::Tcp(addr) = bound.addrs()[0].clone() else { panic!("a TCP address") };
        let mut run = JoinSet::new();
        run.spawn(async move {
            bound.run(std::future::pending()).await;
        });
        Self { target: format!("static:///{addr}"), dir, _run: run }
    }

    pub(crate) fn client(&self) -> OrdersClient {
        OrdersClient::connect(&self.target).unwrap()
    }
}

/// Two pieces of tea for `user`.
pub(crate) fn tea(user: &str) -> CreateOrderRequest {
    let tea = OrderItem { product_id: "tea".into(), quantity: 2, price: 3.5, ..Default::default() };
    CreateOrderRequest { user_id: user.into(), items: vec![tea], ..Default::default() }
}

pub(crate) fn step(id: &str, to: OrderStatus) -> ProcessOrderRequest {
    ProcessOrderRequest { order_id: id.into(), new_status: to.into(), ..Default::default() }
}
