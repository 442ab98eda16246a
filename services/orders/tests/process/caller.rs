//! A gRPC client that knows what became of a call it got no answer to.

use std::fmt;
use std::net::SocketAddr;

use buffa::Message;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use highball::core::envelope::seal;
use highball::{Code, Status};
use http::Request;
use orders::proto::ecommerce::v1::{CreateOrderRequest, GetOrderRequest, Order, OrderItem};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::program::soon;

/// Bytes before a message: the flag and the length.
const PREFIX: usize = 5;

/// One connection.
pub(crate) struct Caller {
    sender: SendRequest<Bytes>,
    /// One task, stopped with the caller.
    _connection: JoinSet<()>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server did not take it: the connection was closed or said goodbye before. Safe to send elsewhere.
    NotSent,
    /// The connection broke. It may have been carried out.
    Lost(String),
    /// The server answered that it did not work.
    Refused(Status),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => f.write_str("not sent"),
            Self::Lost(why) => write!(f, "lost: {why}"),
            Self::Refused(status) => write!(f, "refused: {status}"),
        }
    }
}

impl Caller {
    /// Connects.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let socket = TcpStream::connect(addr).await.expect("the program listens");
        let (sender, connection) = h2::client::handshake(socket).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // The calls tell how it ended.
            connection.await.ok();
        });
        Self { sender, _connection: task }
    }

    /// Creates an order.
    pub(crate) async fn create(
        &self,
        order: &CreateOrderRequest,
        key: Option<&str>,
    ) -> Result<Order, Failure> {
        let request =
            key.into_iter().fold(post("CreateOrder"), |request, key| request.header("idempotency-key", key));
        self.call(request, order).await
    }

    /// Reads an order.
    pub(crate) async fn get(&self, id: &str) -> Result<Order, Failure> {
        let ask = GetOrderRequest { order_id: id.to_owned(), ..Default::default() };
        self.call(post("GetOrder"), &ask).await
    }

    async fn call<A: Message + Default>(
        &self,
        request: http::request::Builder,
        message: &impl Message,
    ) -> Result<A, Failure> {
        let sender = self.sender.clone().ready().await;
        let mut sender = sender.map_err(|_| Failure::NotSent)?;
        let sent = sender.send_request(request.body(()).unwrap(), false);
        let (response, mut body) = sent.map_err(|_| Failure::NotSent)?;
        // When this fails the response fails as well, and says why.
        body.send_data(seal(&message.encode_to_vec()), true).ok();
        let (status, message) = soon("an answer", answer(response)).await.map_err(failed)?;
        if status.code() != Code::Ok {
            return Err(Failure::Refused(status));
        }
        Ok(A::decode_from_slice(&message[PREFIX..]).unwrap())
    }
}

async fn answer(response: ResponseFuture) -> Result<(Status, Vec<u8>), h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    let mut message = Vec::new();
    while let Some(data) = body.data().await.transpose()? {
        message.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    let status = Status::from_headers(trailers.as_ref().unwrap_or(&head.headers));
    Ok((status.expect("every response ends with a status"), message))
}

/// RFC 9113 sections 6.8 and 8.7: a stream beyond the last one of a GOAWAY, or a refused one, was not processed.
fn failed(error: h2::Error) -> Failure {
    let goodbye = error.is_go_away() && error.is_remote();
    if goodbye || error.reason() == Some(h2::Reason::REFUSED_STREAM) {
        Failure::NotSent
    } else {
        Failure::Lost(error.to_string())
    }
}

fn post(method: &str) -> http::request::Builder {
    Request::post(format!("http://orders/ecommerce.v1.OrderService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// The request with this number, told apart by its product.
pub(crate) fn numbered(number: usize, users: usize) -> CreateOrderRequest {
    CreateOrderRequest {
        user_id: format!("buyer-{}", number % users),
        items: vec![OrderItem {
            product_id: format!("request-{number}"),
            quantity: 2,
            price: 9.99,
            ..Default::default()
        }],
        ..Default::default()
    }
}
