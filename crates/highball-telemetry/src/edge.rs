//! What happens at an edge, beside what its server and its channels report.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use crate::{Telemetry, names};

/// A fact about an edge. Routes and clusters are called by the names in its file, which bounds them.
#[derive(Debug)]
#[non_exhaustive]
pub enum EdgeEvent<'a> {
    /// No route matched.
    Unrouted,
    /// A copy for a mirror was not made, because too many are under way.
    MirrorSkipped {
        /// The route.
        route: &'a str,
    },
    /// A copy for a mirror was given up, because the mirror did not take the request in time.
    MirrorGivenUp {
        /// The route.
        route: &'a str,
    },
    /// A new file was taken.
    Reloaded {
        /// Routes there are now.
        routes: usize,
        /// Clusters there are now.
        clusters: usize,
        /// Of these, the clusters that kept their connections.
        kept: usize,
    },
    /// A new file was refused; the old one stays in force.
    ReloadRefused {
        /// All that is wrong with it.
        problems: &'a str,
    },
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Way {
    route: String,
    cluster: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteOnly {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// The families of an edge.
#[derive(Clone, Default)]
pub(crate) struct Families {
    routed: Family<Way, Counter>,
    unrouted: Counter,
    mirrors_skipped: Family<RouteOnly, Counter>,
    mirrors_given_up: Family<RouteOnly, Counter>,
    reloads: Family<Outcome, Counter>,
    clusters: Gauge,
    routes: Gauge,
}

impl Families {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(names::EDGE_ROUTED, "RPCs by route and cluster", self.routed.clone());
        registry.register(names::EDGE_UNROUTED, "RPCs that no route matched", self.unrouted.clone());
        let skipped = self.mirrors_skipped.clone();
        registry.register(names::EDGE_MIRRORS_SKIPPED, "Copies not made at the bound", skipped);
        let given_up = self.mirrors_given_up.clone();
        registry.register(
            names::EDGE_MIRRORS_GIVEN_UP,
            "Copies that a mirror did not take in time",
            given_up,
        );
        registry.register(names::EDGE_RELOADS, "Reloads of the file", self.reloads.clone());
        registry.register(names::EDGE_CLUSTERS, "Clusters in force", self.clusters.clone());
        registry.register(names::EDGE_ROUTES, "Routes in force", self.routes.clone());
    }
}

/// Counts the RPCs that take one way.
#[derive(Debug, Clone)]
pub struct RouteMeter(Counter);

impl RouteMeter {
    /// One more.
    pub fn routed(&self) {
        self.0.inc();
    }
}

impl Telemetry {
    /// Where the RPCs of a route that go to a cluster are counted. Both names must come from a bounded set.
    #[must_use]
    pub fn route(&self, route: &str, cluster: &str) -> RouteMeter {
        let way = Way { route: route.to_owned(), cluster: cluster.to_owned() };
        RouteMeter(self.families().edge.routed.get_or_create_owned(&way))
    }

    /// Records a fact about an edge and logs it.
    pub fn report_edge(&self, event: &EdgeEvent<'_>) {
        let families = &self.families().edge;
        match event {
            EdgeEvent::Unrouted => drop(families.unrouted.inc()),
            EdgeEvent::MirrorSkipped { route } => {
                families.mirrors_skipped.get_or_create(&RouteOnly { route: (*route).to_owned() }).inc();
            }
            EdgeEvent::MirrorGivenUp { route } => {
                families.mirrors_given_up.get_or_create(&RouteOnly { route: (*route).to_owned() }).inc();
            }
            EdgeEvent::Reloaded { routes, clusters, kept } => {
                families.reloads.get_or_create(&Outcome { result: "success" }).inc();
                families.routes.set(i64::try_from(*routes).unwrap_or(i64::MAX));
                families.clusters.set(i64::try_from(*clusters).unwrap_or(i64::MAX));
                info!(routes, clusters, kept, "the file is in force");
            }
            EdgeEvent::ReloadRefused { problems } => {
                families.reloads.get_or_create(&Outcome { result: "failure" }).inc();
                warn!(problems, "the new file is refused; the old one stays in force");
            }
        }
    }
}
