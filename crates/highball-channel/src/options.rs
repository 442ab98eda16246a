//! What one caller of a channel asks of its calls, beside their requests.

use std::sync::Arc;
use std::time::Duration;

use highball_core::DeadlineOrigin;

use crate::service_config::MethodConfig;

/// What is asked of a call beyond what its request says: for proxies, which know more than a method's name. Made once and
/// shared by many calls, see [`Channel::call_with`](crate::Channel::call_with). The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CallOptions {
    /// Instead of all that the service config and the descriptors say of the method. Default `None`: they apply.
    pub config: Option<Arc<MethodConfig>>,
    /// The most time the call gets, and who says so; the earliest of all deadlines wins. Default none.
    pub deadline: Option<(Duration, DeadlineOrigin)>,
    /// Whether backends see the `:authority` of the request, where its URI has one, instead of the channel's. It does not
    /// change which certificate they must have. Default no.
    pub keep_authority: bool,
}
