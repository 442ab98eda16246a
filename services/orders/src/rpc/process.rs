//! `ProcessOrders`: one answer for each request, while the stream is open.

use connectrpc::{ConnectError, InboundStream};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt as _};
use highball::Draining;

use super::{convert, errors};
use crate::proto::ecommerce::v1::{ProcessOrderRequest, ProcessOrderResponse};
use crate::store::{Rejection, Write, WriteError, WriteQueue};

/// Longest identifier that is looked up, in characters; ours have 36. A longer one would only wait in the queue of the
/// writer and take memory there.
const MAX_ID: usize = 128;

/// Answers in the sequence of the requests. The next request is read when the answer before is on its way, so
/// a caller that does not read its answers is not read from either.
///
/// # Cancel safety
///
/// Dropping the stream leaves what was committed; a request without an answer may or may not have been
/// carried out.
pub(super) fn answers(
    queue: WriteQueue,
    draining: Draining,
    requests: InboundStream<ProcessOrderRequest>,
) -> impl Stream<Item = Result<ProcessOrderResponse, ConnectError>> + Send {
    stream::try_unfold((queue, draining, requests), |(queue, draining, mut requests)| async move {
        let request = tokio::select! {
            biased;
            () = draining.begun() => return Err(errors::draining()),
            request = requests.next() => request,
        };
        let Some(request) = request.transpose()? else {
            return Ok(None);
        };
        let answer = answer(&queue, request.to_owned_message()).await?;
        Ok(Some((answer, (queue, draining, requests))))
    })
}

async fn answer(
    queue: &WriteQueue,
    request: ProcessOrderRequest,
) -> Result<ProcessOrderResponse, ConnectError> {
    let refused = |order_id: String, sentence: String| ProcessOrderResponse {
        order_id,
        error_message: sentence,
        ..Default::default()
    };
    let id = request.order_id;
    if id.is_empty() {
        return Ok(refused(id, "order_id is required".to_owned()));
    }
    if id.chars().count() > MAX_ID {
        return Ok(refused(id, format!("order_id must be at most {MAX_ID} characters")));
    }
    let Some(to) = convert::from_wire_status(request.new_status) else {
        return Ok(refused(id, "new_status is not a status an order can have".to_owned()));
    };
    match queue.write(Write::MoveOrder(id.clone(), to)).await {
        Ok(_) => Ok(ProcessOrderResponse { order_id: id, success: true, ..Default::default() }),
        Err(WriteError::Rejected(Rejection::NotFound)) => {
            Ok(refused(id, "the order does not exist".to_owned()))
        }
        Err(WriteError::Rejected(reason)) => Ok(refused(id, reason.to_string())),
        Err(cause) => Err(errors::write("process order", &cause)),
    }
}
