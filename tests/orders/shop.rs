//! The service for the length of a test, and what the tests ask of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use highball::{DrainReport, ListenAddr, Settings};
use highball_testkit::Client;
use highball_tests::tonic_gen::greeter::greeter_client::GreeterClient;
use highball_tests::tonic_gen::{user_v1, user_v2};
use orders::{Database, Plan};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use crate::ecommerce::order_service_client::OrderServiceClient;
use crate::ecommerce::{CreateOrderRequest, Order, OrderItem};

pub(crate) type Orders = OrderServiceClient<Channel>;

/// Far longer than anything here takes; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// `work`, or a panic when it hangs.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A running service with its database.
pub(crate) struct Shop {
    addr: SocketAddr,
    admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<DrainReport>,
    /// Removed after the last service over it is gone.
    data: Arc<TempDir>,
}

impl Shop {
    /// Opens on ports the system chooses, with a database of its own.
    pub(crate) async fn open() -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// Opens another one over the same database.
    pub(crate) async fn branch(&self) -> Self {
        Self::over(self.data.clone()).await
    }

    async fn over(data: Arc<TempDir>) -> Self {
        let any: ListenAddr = "127.0.0.1:0".parse().unwrap();
        let plan = Plan {
            listen: vec![any.clone()],
            admin: Some(any),
            database: Database::sqlite(data.path().join("orders.db")),
            settings: Settings {
                // Nobody balances load here.
                lame_duck: Duration::ZERO,
                ..Settings::default()
            },
            security: orders::Security::default(),
            platform: highball::net::Os::shared(),
        };
        let bound = plan.bind().await.unwrap();
        let [ListenAddr::Tcp(addr)] = bound.addrs()[..] else { panic!("one TCP address was asked for") };
        let Some(ListenAddr::Tcp(admin)) = bound.admin_addr() else { panic!("an admin port was asked for") };
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(bound.run(async move { stopped.await.unwrap_or_default() }));
        Self { addr, admin, stop: Some(stop), run, data }
    }

    /// A connection to its database that it does not know of.
    pub(crate) async fn intruder(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.data.path().join("orders.db"));
        options.connect().await.unwrap()
    }

    /// Where to connect.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.addr)).unwrap()
    }

    async fn channel(&self) -> Channel {
        self.endpoint().connect().await.unwrap()
    }

    /// A client of the order service, on a connection of its own; so are the others.
    pub(crate) async fn orders(&self) -> Orders {
        OrderServiceClient::new(self.channel().await)
    }

    pub(crate) async fn users_v1(&self) -> user_v1::user_service_client::UserServiceClient<Channel> {
        user_v1::user_service_client::UserServiceClient::new(self.channel().await)
    }

    pub(crate) async fn users_v2(&self) -> user_v2::user_service_client::UserServiceClient<Channel> {
        user_v2::user_service_client::UserServiceClient::new(self.channel().await)
    }

    pub(crate) async fn greeter(&self) -> GreeterClient<Channel> {
        GreeterClient::new(self.channel().await)
    }

    /// A client that leaves statuses as they are on the wire.
    pub(crate) async fn raw(&self) -> Client {
        Client::tcp(self.addr).await
    }

    /// The page `/metrics`.
    pub(crate) async fn metrics(&self) -> String {
        let mut socket = TcpStream::connect(self.admin).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        socket.write_all(request).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Waits until no RPC is in flight.
    pub(crate) async fn idle(&self) {
        let busy = |page: &str| {
            let mut active = page.lines().filter(|line| line.starts_with("grpc_active_requests{"));
            active.any(|line| !line.ends_with(" 0"))
        };
        soon("the last RPC to end", async {
            while busy(&self.metrics().await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Starts the drain and does not wait for it.
    pub(crate) fn stop(&mut self) {
        // A second call finds the sender gone, which is what it wanted.
        self.stop.take().map(|stop| stop.send(()));
    }

    /// Waits for what is in flight, then drains. Nothing may be left to cut.
    pub(crate) async fn close(self) {
        self.idle().await;
        let report = self.drained().await;
        assert_eq!(report.finished, 0, "{report}");
    }

    /// Drains with whatever is in flight. Nothing may be cut.
    pub(crate) async fn drained(mut self) -> DrainReport {
        self.stop();
        let report = soon("the drain", &mut self.run).await.unwrap();
        assert_eq!((report.cut, report.connections_cut), (0, 0), "{report}");
        report
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.run.abort();
    }
}

/// A request for an order of these quantities and prices.
pub(crate) fn request(user: &str, items: &[(i32, f64)]) -> CreateOrderRequest {
    let items = (1..).zip(items).map(|(number, (quantity, price))| OrderItem {
        product_id: format!("product-{number}"),
        quantity: *quantity,
        price: *price,
    });
    CreateOrderRequest { user_id: user.to_owned(), items: items.collect() }
}

/// Orders one thing.
pub(crate) async fn an_order(orders: &mut Orders) -> Order {
    let answer = orders.create_order(request("ada", &[(1, 9.99)])).await;
    answer.unwrap().into_inner()
}

/// `message` with an idempotency key.
pub(crate) fn keyed<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

/// The fields a BadRequest names.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let detail = status.get_details_bad_request();
    let detail = detail.unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    detail
        .field_violations
        .into_iter()
        .map(|violation| {
            assert!(!violation.description.is_empty(), "{status:?}");
            violation.field
        })
        .collect()
}

/// Kind and name of a ResourceInfo.
pub(crate) fn resource(status: &Status) -> (String, String) {
    let detail = status.get_details_resource_info();
    let detail = detail.unwrap_or_else(|| panic!("no ResourceInfo in {status:?}"));
    (detail.resource_type, detail.resource_name)
}

/// Reason and domain of an ErrorInfo.
pub(crate) fn reason(status: &Status) -> (String, String) {
    let detail = status.get_details_error_info();
    let detail = detail.unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    (detail.reason, detail.domain)
}
