//! How often one caller may use a route.

use std::net::IpAddr;

use highball_core::{Rpc, Status};
use highball_server::Budgets;
use highball_telemetry::Telemetry;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::settings::{Per, Rate};

/// The budgets of one route, shared by all workers, and kept by a reload that does not change them.
#[derive(Debug)]
pub(crate) struct Quota {
    settings: Rate,
    budgets: Budgets,
}

impl Quota {
    pub(crate) fn new(settings: Rate, telemetry: Telemetry) -> Self {
        let budgets = Budgets::new(settings.rates.clone(), telemetry);
        Self { settings, budgets }
    }

    /// Whether it was made for these settings.
    pub(crate) fn is_for(&self, settings: &Rate) -> bool {
        self.settings == *settings
    }

    /// Takes one RPC from a budget. `address` is the client's, as far as proxies in front are believed.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED with the time to wait.
    pub(crate) fn take(&self, rpc: &Rpc, headers: &HeaderMap, address: Option<IpAddr>) -> Result<(), Status> {
        match &self.settings.per {
            Per::Caller => self.budgets.take(rpc),
            Per::Address => self.budgets.take_from(address, rpc),
            Per::Header(name) => self.budgets.take_from(only(headers, name), rpc),
        }
    }
}

/// The value of a header that is there once. Of several, who reads it behind us may take another than we do: with a new one
/// each time in front of its own, a caller would always find a full budget.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}
