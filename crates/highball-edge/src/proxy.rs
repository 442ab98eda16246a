//! Walk b: what happens to an RPC between the server that took it and the channel that calls for it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use highball_core::{Body, Code, Status, current};
use highball_net::{Platform, Spawner};
use highball_telemetry::{EdgeEvent, Telemetry};
use http::{Request, Response};

use crate::headers::{self, Origin};
use crate::table::Table;

/// What one worker needs to pass RPCs on.
pub(crate) struct Worker {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) telemetry: Telemetry,
    /// Owns the copies of mirrored RPCs.
    pub(crate) mirrors: Spawner,
}

/// Passes one RPC on. It is the service of the server's walk, which has started its record, its deadline and its limits; the
/// channel's walk picks, sends, repeats and judges. Nothing is buffered here.
///
/// # Cancel safety
/// Dropping the future, or later the response body, cancels the RPC at the backend.
pub(crate) async fn forward(worker: Arc<Worker>, mut request: Request<Body>) -> Response<Body> {
    let Some(current) = current::capture() else {
        return Status::new(Code::Internal, "not an RPC").into_response();
    };
    let rpc = current.rpc();

    let (origin, route) = {
        // The table of this moment. Let go at once: it holds the connections of clusters that a reload may remove, and a call
        // may wait for its answer for days.
        let table = worker.table.load();

        // Where it came from. Neither a route nor a budget may believe what a caller says of itself.
        let origin = Origin::of(&rpc.connection, request.headers(), table.trusted_hops);
        headers::forward(request.headers_mut(), origin, table.trusted_hops);

        // Route. The RPC keeps it, whatever a reload brings.
        (origin, table.find(&rpc.method, request.uri(), request.headers()).cloned())
    };
    let Some(route) = route else {
        worker.telemetry.report_edge(&EdgeEvent::Unrouted);
        return Status::new(Code::Unimplemented, "no route leads to this method on this host")
            .into_response();
    };
    if let Some(silence) = route.stream_idle {
        current.allow_silence(silence);
    }
    let random = || worker.platform.random();

    // Quota.
    if let Some(quota) = &route.quota
        && let Err(status) = quota.take(rpc, request.headers(), origin.client)
    {
        return status.into_response();
    }

    // Faults, in tests.
    if let Some(fault) = &route.fault
        && let Err(status) = fault.strike(random).await
    {
        return status.into_response();
    }

    // Rewrite headers.
    route.request_headers.apply(request.headers_mut());

    // Mirror, split; the route's deadline is among the options.
    let mut copied = None;
    if let Some(mirror) = &route.mirror {
        (request, copied) = mirror.copy(request, random(), &worker.mirrors, &worker.telemetry, &route.name);
    }
    let leg = route.split.choose(random);
    leg.meter.routed();

    // Call.
    let mut response = leg.cluster.channel.call_with(request, leg.options(rpc.kind).clone()).await;

    // Rewrite back.
    route.response_headers.apply(response.headers_mut());
    match copied {
        Some(original) => original.follow(response),
        None => response,
    }
}
