//! `ProcessOrders` as one stream of requests and one of answers.

use std::pin::{Pin, pin};

use connectrpc::ConnectError;
use connectrpc::client::{BidiRecvHalf, BidiSendHalf};
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use highball::Body;

use super::{Error, Transport};
use crate::proto::ecommerce::v1::{
    OrderServiceClient, ProcessOrderRequest, ProcessOrderResponse, ProcessOrderResponseView,
};

type Receiver = BidiRecvHalf<Body, ProcessOrderResponseView<'static>>;
type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The answers. The call begins when they are polled.
pub(super) fn answers(
    client: OrderServiceClient<Transport>,
    requests: impl Stream<Item = ProcessOrderRequest> + Send + 'static,
) -> impl Stream<Item = Result<ProcessOrderResponse, Error>> + Send + 'static {
    let begun = async move {
        let (sender, receiver) = client.process_orders().await?.into_split();
        let sending: Sending = Box::pin(send(sender, requests));
        Ok::<_, ConnectError>(stream::try_unfold((Some(sending), receiver), answer))
    };
    stream::once(begun).try_flatten().map_err(Error::from)
}

/// Sends until there is nothing more, or the call is over, which the answers tell.
async fn send(
    mut sender: BidiSendHalf<ProcessOrderRequest>,
    requests: impl Stream<Item = ProcessOrderRequest>,
) {
    let mut requests = pin!(requests);
    while let Some(request) = requests.next().await {
        if sender.send(request).await.is_err() {
            return;
        }
    }
    sender.close_send();
}

/// The next answer; meanwhile requests are sent.
async fn answer(
    (mut sending, mut receiver): (Option<Sending>, Receiver),
) -> Result<Option<(ProcessOrderResponse, (Option<Sending>, Receiver))>, ConnectError> {
    let told = {
        let mut told = pin!(receiver.message::<ProcessOrderResponse>());
        loop {
            tokio::select! {
                biased;
                told = &mut told => break told?,
                () = some(&mut sending) => sending = None,
            }
        }
    };
    Ok(told.map(|told| (told.to_owned_message(), (sending, receiver))))
}

/// The end of what may be there.
async fn some(sending: &mut Option<Sending>) {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}
