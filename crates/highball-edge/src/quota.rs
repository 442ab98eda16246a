//! How often one caller may use a route.

use std::net::IpAddr;

use highball_core::{Rpc, Status};
use highball_server::Budgets;
use highball_telemetry::Telemetry;
use http::HeaderMap;

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
            Per::Header(name) => self.budgets.take_from(headers.get(name), rpc),
        }
    }
}
