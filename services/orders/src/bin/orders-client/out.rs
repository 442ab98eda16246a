//! What is printed: for people in 80 columns, or as JSON.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use buffa::Enumeration as _;
use buffa_types::google::protobuf::Timestamp;
use orders::proto::ecommerce::v1::{Order, OrderItem, OrderStatus, OrderUpdate, ProcessOrderResponse};
use orders::proto::user::v2::User;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

/// The standard output.
#[derive(Debug)]
pub(crate) struct Out {
    json: bool,
    headed: bool,
}

/// Text of others for a terminal: what could move its cursor or change its colours is shown instead of obeyed.
pub(crate) struct Clean<'a>(pub(crate) &'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, headed: false }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches, who wants to see that something is going on.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    fn line(&self, text: impl fmt::Display) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// One answer as the service gave it.
    pub(crate) fn object(&self, answer: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(answer).map_err(|cause| cause.to_string())?;
        self.line(text)
    }

    pub(crate) fn greeting(&self, text: &str) -> Result<(), Failure> {
        if self.json { self.object(&json!({ "message": text })) } else { self.line(Clean(text)) }
    }

    /// A sentence; nothing in JSON, where the objects say it.
    pub(crate) fn sentence(&self, text: impl fmt::Display) -> Result<(), Failure> {
        if self.json { Ok(()) } else { self.line(text) }
    }

    /// One order, in full.
    pub(crate) fn order(&self, order: &Order) -> Result<(), Failure> {
        if self.json {
            return self.object(order);
        }
        self.field("order", Clean(&order.id))?;
        self.field("user", Clean(&order.user_id))?;
        self.field("status", state(order))?;
        self.field("created", moment(order.created_at.as_option()))?;
        for (index, item) in order.items.iter().enumerate() {
            let OrderItem { product_id, quantity, price, .. } = item;
            let name = if index == 0 { "items" } else { "" };
            self.field(name, format_args!("{quantity} x {} at {price}", Clean(product_id)))?;
        }
        self.field("total", order.total_amount)
    }

    /// One order as a line of a list.
    pub(crate) fn row(&mut self, order: &Order) -> Result<(), Failure> {
        if self.json {
            return self.object(order);
        }
        if !std::mem::replace(&mut self.headed, true) {
            self.line(format_args!("{:<36}  {:<9}  {:>12}  USER", "ORDER", "STATUS", "TOTAL"))?;
        }
        let user = shortened(&Clean(&order.user_id).to_string(), USER_WIDTH);
        let (id, total) = (Clean(&order.id).to_string(), order.total_amount);
        self.line(format_args!("{id:<36}  {:<9}  {total:>12}  {user}", state(order)))
    }

    /// How to go on behind the last row.
    pub(crate) fn more(&self, token: &str) -> Result<(), Failure> {
        if self.json {
            return self.object(&json!({ "nextPageToken": token }));
        }
        self.line(format_args!("\nmore: --all, or --page-token {}", Clean(token)))
    }

    /// One change of an order.
    pub(crate) fn update(&self, update: &OrderUpdate) -> Result<(), Failure> {
        if self.json {
            return self.object(update);
        }
        let state = update.order.as_option().map_or("?", state);
        self.line(format_args!("{}  {state}", moment(update.updated_at.as_option())))
    }

    /// What became of one step.
    pub(crate) fn step(&self, answer: &ProcessOrderResponse, to: &str) -> Result<(), Failure> {
        if self.json {
            return self.object(answer);
        }
        let id = Clean(&answer.order_id).to_string();
        if answer.success {
            self.line(format_args!("{id:<36}  {to:<9}  done"))
        } else {
            self.line(format_args!("{id:<36}  {to:<9}  refused\n    {}", Clean(&answer.error_message)))
        }
    }

    /// One user.
    pub(crate) fn user(&self, user: &User) -> Result<(), Failure> {
        if self.json {
            return self.object(user);
        }
        self.field("user", Clean(&user.id))?;
        self.field("name", Clean(&user.name))?;
        let verified = if user.email_verified { "verified" } else { "not verified" };
        self.field("email", format_args!("{} ({verified})", Clean(&user.email)))?;
        match user.phone_number.as_str() {
            "" => Ok(()),
            phone => self.field("phone", Clean(phone)),
        }
    }

    fn field(&self, name: &str, value: impl fmt::Display) -> Result<(), Failure> {
        self.line(format_args!("{name:<9} {value}"))
    }
}

/// What is left of 80 columns after the others of a list.
const USER_WIDTH: usize = 17;

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width - 1).collect();
    short.push('…');
    short
}

/// The status without what every status begins with.
pub(crate) fn short(status: OrderStatus) -> &'static str {
    let name = status.proto_name();
    name.strip_prefix("ORDER_STATUS_").unwrap_or(name)
}

fn state(order: &Order) -> &'static str {
    order.status.as_known().map_or("?", short)
}

/// `2026-01-31 12:00:00 UTC`.
fn moment(timestamp: Option<&Timestamp>) -> String {
    // RFC 3339, as JSON has it.
    let text = timestamp.and_then(|timestamp| serde_json::to_value(timestamp).ok());
    let Some(text) = text.as_ref().and_then(Value::as_str) else { return "-".to_owned() };
    let seconds = text.split(['.', 'Z']).next().unwrap_or_default();
    format!("{} UTC", seconds.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(Clean("a\u{1b}[2Jb\nc").to_string(), "a\\u{1b}[2Jb\\nc");
    }

    #[test]
    fn a_moment_is_told_to_the_second() {
        let then = Timestamp { seconds: 1_767_225_600, nanos: 5_000, ..Default::default() };
        assert_eq!(moment(Some(&then)), "2026-01-01 00:00:00 UTC");
        assert_eq!(moment(None), "-");
    }

    #[test]
    fn long_names_are_cut_where_the_line_ends() {
        assert_eq!(shortened("ada", 17), "ada");
        assert_eq!(shortened(&"é".repeat(20), 5), "éééé…");
    }
}
