//! Calls this service: a typed client over a [`Channel`], with defaults that its owner would choose.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use orders::client::OrdersClient;
//! use orders::proto::ecommerce::v1::{CreateOrderRequest, OrderItem};
//!
//! let client = OrdersClient::connect("dns:///orders.internal:50051")?;
//! let tea = OrderItem { product_id: "tea".into(), quantity: 2, price: 3.5, ..Default::default() };
//! let order = CreateOrderRequest { user_id: "ada".into(), items: vec![tea], ..Default::default() };
//!
//! match client.create_order(order).await {
//!     Ok(order) => println!("{} costs {}", order.id, order.total_amount),
//!     Err(error) => {
//!         for field in error.fields() {
//!             println!("{}: {}", field.field, field.description);
//!         }
//!         return Err(error.into());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is there without asking, in [`SERVICE_CONFIG`] and the descriptors:
//!
//! * Every endpoint of the target takes its turn (`round_robin`); one that says it is not healthy is avoided while another is.
//! * Five seconds for a call, ten for a page, a minute for a batch. Watches and `ProcessOrders` last as long as they last.
//! * Reads are repeated while the answer is UNAVAILABLE. So are calls that create something, because each carries an
//!   `idempotency-key`: one of its own unless the caller gave one, and the same in every attempt.
//! * Retries stop when half of the calls fail (`retryThrottling`).
//!
//! TLS, credentials, telemetry and limits are the channel's: begin with [`OrdersClient::channel`].
//!
//! ```no_run
//! # fn example(tls: std::sync::Arc<highball::net::tls::ClientTls>, telemetry: highball::Telemetry) -> Result<(), highball::ChannelError> {
//! use std::time::Duration;
//! use orders::client::OrdersClient;
//!
//! let channel = OrdersClient::channel("dns:///orders.internal:443").with_tls(tls).with_telemetry(telemetry).build()?;
//! let client = OrdersClient::new(channel).with_deadline(Duration::from_secs(1));
//! # drop(client);
//! # Ok(())
//! # }
//! ```

mod error;
mod keys;
mod process;
mod transport;
mod watch;

use std::time::Duration;

use connectrpc::Protocol;
use connectrpc::client::{CallOptions, ClientConfig};
use futures_util::Stream;
use highball::channel::Builder;
use highball::core::deadline::{TIMEOUT_HEADER, encode_timeout};
use highball::{Channel, ChannelError};
use http::Uri;

use crate::DESCRIPTORS;
use crate::proto::ecommerce::v1::{
    BatchCreateOrdersResponse, CreateOrderRequest, GetOrderRequest, ListOrdersRequest, Order,
    OrderServiceClient, ProcessOrderRequest, ProcessOrderResponse,
};
use crate::proto::greeter::{GreeterClient, HelloRequest};
use crate::proto::user;

pub use error::{Detail, Error};
pub use keys::HEADER as IDEMPOTENCY_KEY;
pub use transport::Transport;
pub use watch::Watch;

/// What the client asks of its channel unless the resolver brings another: deadlines, retries, balancing
/// (grpc `doc/service_config.md`).
pub const SERVICE_CONFIG: &str = include_str!("client/service_config.json");

/// Trailing metadata of ListOrders.
const NEXT_PAGE: &str = "next-page-token";

/// A client of all services. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct OrdersClient {
    transport: Transport,
    config: ClientConfig,
}

/// A page of orders, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// At most 100 of them.
    pub orders: Vec<Order>,
    /// What to ask the next page with; `None` on the last one.
    pub next_page_token: Option<String>,
}

impl OrdersClient {
    /// A client for `target`, such as `dns:///orders.internal:50051`, in plaintext and with every default. Nothing is
    /// connected before the first call. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ChannelError`] when the target cannot be read.
    pub fn connect(target: &str) -> Result<Self, ChannelError> {
        Ok(Self::new(Self::channel(target).build()?))
    }

    /// A channel to `target` with this service's defaults, for you to complete with TLS, credentials, telemetry and limits.
    pub fn channel(target: &str) -> Builder {
        Channel::builder(target).with_service_config(SERVICE_CONFIG).with_descriptors(DESCRIPTORS)
    }

    /// A client over `channel`, which should come from [`channel`](Self::channel).
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        // The channel addresses requests itself, so this is only to have a URI.
        let base = Uri::from_static("http://orders");
        Self {
            transport: Transport::new(channel),
            config: ClientConfig::new(base).with_protocol(Protocol::Grpc),
        }
    }

    /// A client of the same connections whose calls may take at most `deadline` each, as long as the service config does
    /// not allow less; that of a watch or a `ProcessOrders`, too.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        // As a header, not as an option of the generated client: the channel knows what the time went into, and says so.
        let mut headers = self.config.default_headers().clone();
        headers.insert(TIMEOUT_HEADER, encode_timeout(deadline));
        self.config = self.config.with_default_headers(headers);
        self
    }

    /// The channel, for its state and its snapshot. Generated clients of your own belong on [`transport`](Self::transport).
    #[must_use]
    pub fn as_channel(&self) -> &Channel {
        self.transport.channel()
    }

    /// What generated clients of this service run on: the channel, with an `idempotency-key` for whatever creates something.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// Creates an order. It is safe to retry and is retried; for a key that outlives this process see
    /// [`create_order_once`](Self::create_order_once).
    ///
    /// # Errors
    /// INVALID_ARGUMENT with [`fields`](Error::fields).
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call; whether the order was created is then unknown.
    pub async fn create_order(&self, order: CreateOrderRequest) -> Result<Order, Error> {
        Ok(self.orders().create_order(order).await?.into_owned())
    }

    /// Creates an order, or answers the one that was created with the same `key` before, by whatever process: 1 to 128
    /// visible ASCII characters.
    ///
    /// # Errors
    /// As [`create_order`](Self::create_order); FAILED_PRECONDITION when the key was used for another order
    /// ([`Error::is_key_reused`]).
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call; call it again with the same key.
    pub async fn create_order_once(&self, key: &str, order: CreateOrderRequest) -> Result<Order, Error> {
        let options = CallOptions::default().with_header(IDEMPOTENCY_KEY, keys::given(key)?);
        Ok(self.orders().create_order_with_options(order, options).await?.into_owned())
    }

    /// Answers one order.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn get_order(&self, id: &str) -> Result<Order, Error> {
        let request = GetOrderRequest { order_id: id.to_owned(), ..Default::default() };
        Ok(self.orders().get_order(request).await?.into_owned())
    }

    /// Follows one order: as it stands, then every change, until it is delivered or cancelled. A server that goes away in
    /// between is replaced by another.
    ///
    /// # Errors
    /// NOT_FOUND, here or from the first [`next`](Watch::next).
    pub async fn watch_order(&self, id: &str) -> Result<Watch, Error> {
        Watch::begin(self.clone(), id).await
    }

    /// Answers one page of orders.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with [`fields`](Error::fields), for a page token of another user.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub async fn list_orders(&self, request: ListOrdersRequest) -> Result<Page, Error> {
        let mut stream = self.orders().list_orders(request).await?;
        let mut orders = Vec::new();
        // Bounded by the server, which never answers more than a hundred, and by the deadline.
        while let Some(order) = stream.message::<Order>().await? {
            orders.push(order.to_owned_message());
        }
        let token = stream.trailers().and_then(|trailers| trailers.get(NEXT_PAGE));
        let next_page_token = token.and_then(|token| token.to_str().ok()).map(str::to_owned);
        Ok(Page { orders, next_page_token })
    }

    /// Creates an order for each of `requests`, which are sent as they come; one that breaks a rule is only counted. One key
    /// covers them all: as long as they fit into what the channel keeps (256 KiB), a batch that broke off is sent again.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED beyond 10,000 requests.
    ///
    /// # Cancel safety
    /// Dropping the future stops the batch; the orders that were created stay.
    pub async fn batch_create_orders(
        &self,
        requests: impl Stream<Item = CreateOrderRequest> + Send + 'static,
    ) -> Result<BatchCreateOrdersResponse, Error> {
        Ok(self.orders().batch_create_orders(requests).await?.into_owned())
    }

    /// As [`batch_create_orders`](Self::batch_create_orders), with a key that outlives this process: sent again with the same
    /// key and the same requests in the same sequence, nothing is ordered twice.
    ///
    /// # Errors
    /// As [`batch_create_orders`](Self::batch_create_orders).
    ///
    /// # Cancel safety
    /// Dropping the future stops the batch; call it again with the same key.
    pub async fn batch_create_orders_once(
        &self,
        key: &str,
        requests: impl Stream<Item = CreateOrderRequest> + Send + 'static,
    ) -> Result<BatchCreateOrdersResponse, Error> {
        let options = CallOptions::default().with_header(IDEMPOTENCY_KEY, keys::given(key)?);
        let answer = self.orders().batch_create_orders_with_options(requests, options).await?;
        Ok(answer.into_owned())
    }

    /// Moves orders to new states, one answer for each of `requests`, in their sequence. Sending and receiving go on side by
    /// side while the answers are polled. Never repeated: an answer that is missing may have been carried out.
    ///
    /// # Cancel safety
    /// Dropping the stream cancels the call.
    pub fn process_orders(
        &self,
        requests: impl Stream<Item = ProcessOrderRequest> + Send + 'static,
    ) -> impl Stream<Item = Result<ProcessOrderResponse, Error>> + Send + 'static {
        process::answers(self.orders(), requests)
    }

    /// Greets: the smallest call there is.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for the name `invalid`.
    pub async fn hello(&self, name: &str) -> Result<String, Error> {
        let client = GreeterClient::new(self.transport(), self.config.clone());
        let request = HelloRequest { name: name.to_owned(), ..Default::default() };
        Ok(client.say_hello(request).await?.into_owned().message)
    }

    /// The generated client of users. Its errors become an [`Error`] with `?`.
    #[must_use]
    pub fn users(&self) -> user::v2::UserServiceClient<Transport> {
        user::v2::UserServiceClient::new(self.transport(), self.config.clone())
    }

    /// The generated client of orders. Its errors become an [`Error`] with `?`.
    #[must_use]
    pub fn orders(&self) -> OrderServiceClient<Transport> {
        OrderServiceClient::new(self.transport(), self.config.clone())
    }
}
