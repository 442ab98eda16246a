//! Easing in what has just become ready (gRFC A100, Envoy's slow start).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Backend;
use crate::service_config::balancing::SlowStart;

/// When to weigh again while some of these backends are eased in; `None` when none is.
pub(super) fn reweigh_after(
    config: Option<&SlowStart>,
    ready: &[Arc<Backend>],
    now: Instant,
) -> Option<Duration> {
    let config = config?;
    let warming = ready.iter().any(|backend| backend.load.slow_start(config, now) < 1.0);
    // A hundred steps are a ramp.
    warming.then(|| (config.window / 100).clamp(Duration::from_millis(100), Duration::from_secs(1)))
}

/// What a backend's weight is multiplied with, or its cost divided by.
pub(super) fn factor(config: Option<&SlowStart>, backend: &Backend, now: Instant) -> f64 {
    config.map_or(1.0, |config| backend.load.slow_start(config, now))
}
