//! Following an order, from one server to the next.

use std::fmt;
use std::time::Duration;

use connectrpc::client::ServerStream;
use highball::{Body, Code};

use super::{Error, OrdersClient};
use crate::proto::ecommerce::v1::{OrderUpdate, OrderUpdateView, WatchOrderRequest};

/// Watches in a row that are begun again and bring no news, at most.
const AGAIN_MAX: u32 = 5;

/// Before watching again, times as often as it was in vain: a server that restarts has a second and a half.
const PAUSE: Duration = Duration::from_millis(100);

type Updates = ServerStream<Body, OrderUpdateView<'static>>;

/// An order that is followed. Dropping it ends the call.
#[must_use = "nothing is heard of the order unless it is asked for"]
pub struct Watch {
    client: OrdersClient,
    order_id: String,
    updates: Option<Updates>,
    last: Option<OrderUpdate>,
    again: u32,
}

impl Watch {
    pub(super) async fn begin(client: OrdersClient, order_id: &str) -> Result<Self, Error> {
        let mut watch = Self { client, order_id: order_id.to_owned(), updates: None, last: None, again: 0 };
        watch.updates = Some(watch.open().await?);
        Ok(watch)
    }

    /// The order as it stands, then its next change; `None` after DELIVERED and CANCELLED. When the server goes away, the
    /// order is watched at another one, and an update that was seen before is not told again.
    ///
    /// # Errors
    /// NOT_FOUND; UNAVAILABLE when no server stays.
    ///
    /// # Cancel safety
    /// Cancel safe: no update is lost.
    pub async fn next(&mut self) -> Result<Option<OrderUpdate>, Error> {
        loop {
            match self.hear().await {
                // What was told at the last server is not told again.
                Ok(Some(update)) if self.last.as_ref() == Some(&update) => {}
                Ok(Some(update)) => {
                    self.again = 0;
                    self.last = Some(update.clone());
                    return Ok(Some(update));
                }
                Ok(None) => return Ok(None),
                // Before anything was heard the channel has tried already.
                Err(error) if self.is_worth_another(&error) => {
                    self.again += 1;
                    self.updates = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_worth_another(&self, error: &Error) -> bool {
        error.code() == Code::Unavailable && self.last.is_some() && self.again < AGAIN_MAX
    }

    /// The next update of one call, which is begun if there is none.
    async fn hear(&mut self) -> Result<Option<OrderUpdate>, Error> {
        if self.updates.is_none() {
            tokio::time::sleep(PAUSE * self.again).await;
            self.updates = Some(self.open().await?);
        }
        let Some(updates) = &mut self.updates else { return Ok(None) };
        Ok(updates.message::<OrderUpdate>().await?.map(|update| update.to_owned_message()))
    }

    async fn open(&self) -> Result<Updates, Error> {
        let request = WatchOrderRequest { order_id: self.order_id.clone(), ..Default::default() };
        Ok(self.client.orders().watch_order(request).await?)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("order_id", &self.order_id).finish_non_exhaustive()
    }
}
