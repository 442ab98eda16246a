//! ProcessOrders: one answer for each request, while the stream is open.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::ecommerce::{OrderStatus, ProcessOrderRequest, ProcessOrderResponse};
use crate::shop::{Orders, Shop, an_order, soon};

/// An open stream.
pub(crate) struct Process {
    requests: mpsc::Sender<ProcessOrderRequest>,
    pub(crate) answers: Streaming<ProcessOrderResponse>,
}

impl Process {
    pub(crate) async fn open(orders: &mut Orders) -> Self {
        let (requests, outbound) = mpsc::channel(1);
        let answers = orders.process_orders(ReceiverStream::new(outbound)).await;
        Self { requests, answers: answers.unwrap().into_inner() }
    }

    /// One request and its answer: nothing when it worked, the sentence when not.
    pub(crate) async fn step(&mut self, id: &str, status: OrderStatus) -> Result<(), String> {
        let request = ProcessOrderRequest { order_id: id.to_owned(), new_status: status.into() };
        self.requests.send(request).await.unwrap();
        let answer = soon("an answer", self.answers.message()).await.unwrap().unwrap();
        assert_eq!(answer.order_id, id);
        assert_eq!(answer.success, answer.error_message.is_empty(), "{answer:?}");
        if answer.success { Ok(()) } else { Err(answer.error_message) }
    }

    /// Half-closes; the server then ends the stream with OK.
    pub(crate) async fn end(mut self) {
        drop(self.requests);
        assert_eq!(self.answers.message().await.unwrap(), None);
    }
}

#[tokio::test]
async fn every_request_is_answered_before_the_next_one_is_sent() {
    let shop = Shop::open().await;
    let mut orders = shop.orders().await;
    let (first, second) = (an_order(&mut orders).await.id, an_order(&mut orders).await.id);
    let mut process = Process::open(&mut orders).await;
    for (id, status, expected) in [
        (&first, OrderStatus::Confirmed, Ok(())),
        (&second, OrderStatus::Cancelled, Ok(())),
        (&first, OrderStatus::Shipped, Ok(())),
        (&second, OrderStatus::Confirmed, Err("an order that is CANCELLED cannot become CONFIRMED")),
        (&"nobody's".to_owned(), OrderStatus::Confirmed, Err("the order does not exist")),
        (&first, OrderStatus::Unspecified, Err("new_status is not a status an order can have")),
        (&first, OrderStatus::Delivered, Ok(())),
    ] {
        let answer = process.step(id, status).await;
        assert_eq!(answer, expected.map_err(str::to_owned), "{status:?}");
    }
    process.end().await;
    shop.close().await;
}
