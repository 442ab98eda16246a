//! The calls with one request.

use clap::Args;
use orders::client::OrdersClient;
use orders::proto::ecommerce::v1::{CreateOrderRequest, ListOrdersRequest, OrderItem};

use crate::failure::Failure;
use crate::input;
use crate::out::Out;

/// What `create` takes.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Who orders.
    #[arg(long, value_name = "ID")]
    user: String,
    /// What: PRODUCT:QUANTITY:PRICE, such as tea:2:3.5. May be given several times.
    #[arg(long = "item", value_name = "ITEM", value_parser = input::item)]
    items: Vec<OrderItem>,
    /// Name of this order: with the same key nothing is ordered twice, however often the command runs.
    #[arg(long)]
    key: Option<String>,
}

/// What `get` takes.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Identifier of the order.
    id: String,
}

/// What `watch` takes.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Identifier of the order.
    id: String,
}

/// What `list` takes.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only the orders of this user.
    #[arg(long, value_name = "ID", default_value = "")]
    user: String,
    /// Orders of a page, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=100))]
    page_size: i32,
    /// Where to go on: the token that the page before ended with.
    #[arg(long, value_name = "TOKEN", default_value = "")]
    page_token: String,
    /// Every page, not only the first.
    #[arg(long)]
    all: bool,
}

pub(crate) async fn create(client: &OrdersClient, flags: Create, out: &Out) -> Result<(), Failure> {
    let order = CreateOrderRequest { user_id: flags.user, items: flags.items, ..Default::default() };
    let order = match &flags.key {
        Some(key) => client.create_order_once(key, order).await?,
        None => client.create_order(order).await?,
    };
    out.order(&order)
}

pub(crate) async fn get(client: &OrdersClient, flags: Get, out: &Out) -> Result<(), Failure> {
    out.order(&client.get_order(&flags.id).await?)
}

pub(crate) async fn watch(client: &OrdersClient, flags: Watch, out: &Out) -> Result<(), Failure> {
    let mut watch = client.watch_order(&flags.id).await?;
    while let Some(update) = watch.next().await? {
        out.update(&update)?;
    }
    Ok(())
}

pub(crate) async fn list(client: &OrdersClient, flags: List, out: &mut Out) -> Result<(), Failure> {
    let List { user, page_size, page_token, all } = flags;
    let mut ask = ListOrdersRequest { user_id: user, page_size, page_token, ..Default::default() };
    loop {
        let page = client.list_orders(ask.clone()).await?;
        for order in &page.orders {
            out.row(order)?;
        }
        match page.next_page_token {
            Some(token) if all => ask.page_token = token,
            Some(token) => return out.more(&token),
            None if page.orders.is_empty() && ask.page_token.is_empty() => return out.sentence("no orders"),
            None => return Ok(()),
        }
    }
}
