//! `BatchCreateOrders`: many orders, each on its own.

use std::sync::Arc;

use buffa::Message as _;
use connectrpc::{ConnectError, InboundStream};
use futures_util::stream::{FuturesOrdered, StreamExt as _};

use super::{convert, errors, orders};
use crate::domain::order::Order;
use crate::domain::request_key;
use crate::proto::ecommerce::v1::{BatchCreateOrdersResponse, CreateOrderRequest};
use crate::store::{Outcome, Rejection, Write, WriteError, WriteQueue};

/// Most messages of one batch.
const MAX_MESSAGES: usize = 10_000;

/// Most bytes of orders in the answer. Below the 4 MiB at which the caller would throw the answer away.
const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// What an order has on the wire beyond its request: id, total, status, time and its own frame, rounded up.
const BEYOND_REQUEST: usize = 96;

/// Writes on their way at once. They share commits; more would only fill the queue of everybody else.
const IN_FLIGHT: usize = 64;

const METHOD: &str = "ecommerce.v1.OrderService/BatchCreateOrders";

/// Creates an order for every message and answers when the stream ends.
///
/// # Cancel safety
///
/// Dropping it leaves what was committed and stops the rest; a retry with the same key answers the same
/// orders.
pub(super) async fn create(
    queue: &WriteQueue,
    key: Option<&str>,
    mut requests: InboundStream<CreateOrderRequest>,
) -> Result<BatchCreateOrdersResponse, ConnectError> {
    let mut batch = Batch::default();
    let mut writing = FuturesOrdered::new();
    let end = loop {
        // A dropped `next` of either stream loses nothing: messages and answers stay in their stream.
        tokio::select! {
            biased;
            Some(written) = writing.next(), if !writing.is_empty() => batch.record(written)?,
            request = requests.next(), if writing.len() < IN_FLIGHT => match request {
                None => break Ok(()),
                Some(Err(cause)) => break Err(cause),
                Some(Ok(message)) => match batch.admit(key, message.to_owned_message()) {
                    Ok(Some(write)) => writing.push_back(submit(queue.clone(), write)),
                    Ok(None) => {}
                    Err(full) => break Err(full),
                },
            },
        }
    };
    while let Some(written) = writing.next().await {
        batch.record(written)?;
    }
    end.map(|()| batch.into_response())
}

async fn submit(queue: WriteQueue, write: Write) -> Result<Outcome, WriteError> {
    queue.write(write).await
}

#[derive(Default)]
struct Batch {
    messages: usize,
    answer_bytes: usize,
    created: Vec<Arc<Order>>,
    failures: i32,
}

impl Batch {
    /// Checks one message. `None` is a failure that was counted; an error is the end of the batch.
    fn admit(
        &mut self,
        key: Option<&str>,
        request: CreateOrderRequest,
    ) -> Result<Option<Write>, ConnectError> {
        let index = self.messages;
        if index == MAX_MESSAGES {
            return Err(full("at most 10000 messages make a batch", index));
        }
        self.messages += 1;
        let bytes = request.encoded_len() as usize + BEYOND_REQUEST;
        let Ok(new) = convert::new_order(request) else {
            self.failures += 1;
            return Ok(None);
        };
        self.answer_bytes += bytes;
        if self.answer_bytes > MAX_ANSWER {
            return Err(full("the answer would be larger than 3 MiB", index));
        }
        let key = key.map(|key| orders::order_key(METHOD, request_key::in_batch(key, index), &new));
        Ok(Some(Write::CreateOrder(new, key)))
    }

    /// Counts the end of one write. A database that fails ends the batch: the caller could not tell it from a
    /// bad message.
    fn record(&mut self, written: Result<Outcome, WriteError>) -> Result<(), ConnectError> {
        match written {
            Ok(outcome) => self.created.push(orders::order_of(outcome)?),
            Err(WriteError::Rejected(Rejection::KeyReused)) => self.failures += 1,
            Err(cause) => return Err(errors::write("create orders", &cause)),
        }
        Ok(())
    }

    fn into_response(self) -> BatchCreateOrdersResponse {
        BatchCreateOrdersResponse {
            success_count: i32::try_from(self.created.len()).expect("at most 10,000"),
            failure_count: self.failures,
            orders: self.created.iter().map(|order| convert::order(order)).collect(),
            ..Default::default()
        }
    }
}

/// RESOURCE_EXHAUSTED at the message `index`, counted from 0; people count from 1.
fn full(why: &str, index: usize) -> ConnectError {
    let message = format!("{why}: message {} and later ones were not taken", index + 1);
    errors::exhausted("BATCH_TOO_LARGE", message)
}
