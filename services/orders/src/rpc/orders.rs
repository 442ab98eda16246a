//! `ecommerce.v1.OrderService`: the calls with one request. Streams of requests are in `batch` and `process`.

use connectrpc::{
    ConnectError, InboundStream, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use highball::Draining;
use http::HeaderValue;
use uuid::Uuid;

use super::errors::{self, Problem};
use super::{batch, convert, process, validate, watch};
use crate::domain::order::{NewOrder, Order};
use crate::domain::page::{self, List};
use crate::domain::request_key::{self, RequestKey};
use crate::proto::ecommerce::v1::{
    self as wire, BatchCreateOrdersResponse, CreateOrderRequest, GetOrderRequest, ListOrdersRequest,
    OrderService, OrderUpdate, ProcessOrderRequest, ProcessOrderResponse, WatchOrderRequest,
};
use crate::store::{Cursor, Outcome, Rejection, Store, Write, WriteError};

/// Message name in ResourceInfo.
const KIND: &str = "ecommerce.v1.Order";

/// Trailing metadata of ListOrders.
const NEXT_PAGE: &str = "next-page-token";

/// Orders of a page whose items are read at once: what a slow reader of a list can keep in memory.
const ITEMS_AHEAD: usize = 20;

/// Takes and follows orders.
#[derive(Debug)]
pub(crate) struct Orders {
    store: Store,
    draining: Draining,
}

impl Orders {
    pub(crate) fn new(store: Store, draining: Draining) -> Self {
        Self { store, draining }
    }
}

impl OrderService for Orders {
    async fn create_order(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CreateOrderRequest>,
    ) -> ServiceResult<wire::Order> {
        let key = caller_key(&context)?;
        let new = convert::new_order(request.to_owned_message())?;
        let key = key.map(|key| order_key("ecommerce.v1.OrderService/CreateOrder", key, &new));
        match self.store.queue.write(Write::CreateOrder(new, key)).await {
            Ok(outcome) => {
                let order = order_of(outcome)?;
                Response::ok(convert::order(&order))
            }
            Err(cause) => Err(create_error(&cause)),
        }
    }

    async fn get_order(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, GetOrderRequest>,
    ) -> ServiceResult<wire::Order> {
        validate::check(request.view())?;
        let found = self.store.reader.order(request.order_id).await;
        match found.map_err(|cause| errors::read("get order", &cause))? {
            Some(order) => Response::ok(convert::order(&order)),
            None => Err(unknown_order(request.order_id)),
        }
    }

    async fn watch_order(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, WatchOrderRequest>,
    ) -> ServiceResult<ServiceStream<OrderUpdate>> {
        validate::check(request.view())?;
        let updates = watch::updates(&self.store, self.draining.clone(), request.order_id).await?;
        Response::stream_ok(updates)
    }

    async fn list_orders(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, ListOrdersRequest>,
    ) -> ServiceResult<ServiceStream<wire::Order>> {
        validate::check(request.view())?;
        let size = page::size(request.page_size);
        let before = self.page_start(request.user_id, request.page_token)?;
        // One more than asked for, to know whether there is a next page.
        let read = self.store.reader.order_page(request.user_id, before, size + 1).await;
        let mut orders = read.map_err(|cause| errors::read("list orders", &cause))?;
        let more = orders.len() > size;
        orders.truncate(size);
        let next = orders.last().filter(|_| more).map(|last| self.page_token(request.user_id, last));

        let mut response = Response::stream(self.stream_with_items(orders));
        if let Some(token) = next.transpose()? {
            response.trailers.insert(NEXT_PAGE, token);
        }
        Ok(response)
    }

    async fn batch_create_orders(
        &self,
        context: RequestContext,
        requests: InboundStream<CreateOrderRequest>,
    ) -> ServiceResult<BatchCreateOrdersResponse> {
        let key = caller_key(&context)?;
        batch::create(&self.store.queue, key, requests).await.map(Response::new)
    }

    async fn process_orders(
        &self,
        _: RequestContext,
        requests: InboundStream<ProcessOrderRequest>,
    ) -> ServiceResult<ServiceStream<ProcessOrderResponse>> {
        let answers = process::answers(self.store.queue.clone(), self.draining.clone(), requests);
        Response::stream_ok(answers)
    }
}

impl Orders {
    fn page_start(&self, user_id: &str, token: &str) -> Result<Option<Cursor>, ConnectError> {
        if token.is_empty() {
            return Ok(None);
        }
        let row = self.store.tokens.open(List::Orders, user_id, token);
        row.map(|id| Some(Cursor(id)))
            .map_err(|cause| errors::invalid(vec![Problem::saying("page_token", cause)]))
    }

    fn page_token(&self, user_id: &str, last: &Order) -> Result<HeaderValue, ConnectError> {
        let masked = |cause: &dyn std::error::Error| errors::masked("list orders", cause);
        let id = Uuid::try_parse(&last.id).map_err(|cause| masked(&cause))?;
        let token = self.store.tokens.seal(List::Orders, user_id, id);
        HeaderValue::from_str(&token).map_err(|cause| masked(&cause))
    }

    /// Streams `orders`, reading their items a few orders ahead of the reader.
    fn stream_with_items(
        &self,
        orders: Vec<Order>,
    ) -> impl futures_util::Stream<Item = Result<wire::Order, ConnectError>> + Send + use<> {
        let reader = self.store.reader.clone();
        let chunks: Vec<Vec<Order>> = orders.chunks(ITEMS_AHEAD).map(<[Order]>::to_vec).collect();
        stream::iter(chunks)
            .then(move |chunk| {
                let reader = reader.clone();
                async move {
                    let orders = reader.with_items(chunk).await;
                    let orders = orders.map_err(|cause| errors::read("list orders", &cause))?;
                    Ok::<_, ConnectError>(stream::iter(orders).map(|order| Ok(convert::order(&order))))
                }
            })
            .try_flatten()
    }
}

/// The caller's idempotency key, if any.
fn caller_key(context: &RequestContext) -> Result<Option<&str>, ConnectError> {
    request_key::from_headers(context.headers()).map_err(bad_key)
}

/// INVALID_ARGUMENT for a key that cannot be used.
pub(super) fn bad_key(cause: request_key::BadKey) -> ConnectError {
    errors::invalid(vec![Problem::saying(request_key::HEADER, cause)])
}

/// The key of one order. Keys belong to the user who orders: two users may count alike.
pub(super) fn order_key(method: &'static str, key: impl Into<String>, new: &NewOrder) -> RequestKey {
    RequestKey { method, scope: new.user_id.clone(), key: key.into(), fingerprint: new.fingerprint() }
}

/// The order of an outcome of [`Write::CreateOrder`].
pub(super) fn order_of(outcome: Outcome) -> Result<std::sync::Arc<Order>, ConnectError> {
    match outcome {
        Outcome::OrderCreated(order) | Outcome::OrderKnown(order) | Outcome::OrderMoved(order) => Ok(order),
        Outcome::UserCreated(_) | Outcome::UserUpdated(_) | Outcome::UserKnown(_) => {
            debug_assert!(false, "a write for an order answers an order");
            Err(ConnectError::internal("failed to create order"))
        }
    }
}

/// What a failed [`Write::CreateOrder`] says.
pub(super) fn create_error(cause: &WriteError) -> ConnectError {
    match cause {
        WriteError::Rejected(Rejection::KeyReused) => errors::key_reused(),
        other => errors::write("create order", other),
    }
}

/// NOT_FOUND for an order.
pub(super) fn unknown_order(id: &str) -> ConnectError {
    errors::not_found(KIND, "order", id)
}
