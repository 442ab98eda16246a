//! All routes and clusters of a worker at one moment: read by one atomic load, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use highball_channel::CallOptions;
use highball_channel::service_config::MethodConfig;
use highball_core::{DeadlineOrigin, Method};
use highball_net::Platform;
use highball_telemetry::Telemetry;
use http::{HeaderMap, Uri};

use crate::cluster::{Cluster, Materials};
use crate::fault::Fault;
use crate::headers::Rewrite;
use crate::mirror::Mirror;
use crate::quota::Quota;
use crate::route::{self, Conditions, Leg, Route, Split};
use crate::settings::{self, Settings};

/// Routes in their order, and what they lead to.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) routes: Vec<Arc<Route>>,
    pub(crate) clusters: BTreeMap<String, Arc<Cluster>>,
    pub(crate) trusted_hops: usize,
    /// Whether any route asks for the host.
    by_host: bool,
}

/// What the tables of all workers share.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    materials: Materials,
    /// By route.
    quotas: BTreeMap<String, Arc<Quota>>,
}

impl Plan {
    /// Reads what files the settings name. Budgets of `previous` are kept where their settings are the same: a reload is no
    /// licence for a burst.
    ///
    /// # Errors
    /// A sentence for each problem.
    pub(crate) fn new(
        settings: Settings,
        descriptors: Vec<Vec<u8>>,
        previous: Option<&Self>,
        platform: &Arc<dyn Platform>,
        telemetry: &Telemetry,
    ) -> Result<Self, Vec<String>> {
        let known = previous.map(|previous| (&previous.settings, &previous.materials));
        let materials = Materials::load(&settings, descriptors, known, platform)?;
        let quota = |route: &settings::Route| {
            let rate = route.rate.as_ref()?;
            let known = previous.and_then(|previous| previous.quotas.get(&route.name));
            let kept = known.filter(|quota| quota.is_for(rate)).cloned();
            let made = || Arc::new(Quota::new(rate.clone(), telemetry.clone()));
            Some((route.name.clone(), kept.unwrap_or_else(made)))
        };
        let quotas = settings.routes.iter().filter_map(quota).collect();
        Ok(Self { settings, materials, quotas })
    }

    /// Makes every cluster and connects to none.
    ///
    /// # Errors
    /// A sentence for each that cannot be made.
    pub(crate) fn check(
        &self,
        platform: &Arc<dyn Platform>,
        telemetry: &Telemetry,
    ) -> Result<(), Vec<String>> {
        let made = |(name, settings): (&String, &settings::Cluster)| {
            Cluster::new(name, settings, &self.materials, platform, telemetry).err()
        };
        let problems: Vec<String> = self.settings.clusters.iter().filter_map(made).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl Table {
    /// Makes the table of one worker, inside its runtime. Clusters of `previous` whose settings are the same are taken over
    /// with their connections.
    ///
    /// # Errors
    /// A sentence for each cluster that cannot be made.
    pub(crate) fn new(
        plan: &Plan,
        previous: Option<&Self>,
        platform: &Arc<dyn Platform>,
        telemetry: &Telemetry,
    ) -> Result<Self, Vec<String>> {
        let (mut clusters, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, settings) in &plan.settings.clusters {
            let known = previous.and_then(|previous| previous.clusters.get(name));
            let opened = match known.filter(|cluster| cluster.settings == *settings) {
                Some(same) => Ok(same.clone()),
                None => Cluster::open(name, settings, &plan.materials, platform, telemetry).map(Arc::new),
            };
            match opened {
                Ok(cluster) => drop(clusters.insert(name.clone(), cluster)),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let maker = Maker { plan, previous, clusters: &clusters, telemetry };
        let routes: Result<Vec<_>, String> =
            plan.settings.routes.iter().map(|route| maker.route(route).map(Arc::new)).collect();
        let routes = routes.map_err(|problem| vec![problem])?;
        let by_host = routes.iter().any(|route| !route.conditions.hosts.is_empty());
        Ok(Self { routes, clusters, trusted_hops: plan.settings.trusted_hops, by_host })
    }

    /// The first route that matches.
    pub(crate) fn find(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<&Arc<Route>> {
        let host = if self.by_host { route::host(uri, headers) } else { String::new() };
        self.routes.iter().find(|route| route.conditions.are_met(&host, method, headers))
    }
}

struct Maker<'a> {
    plan: &'a Plan,
    previous: Option<&'a Table>,
    clusters: &'a BTreeMap<String, Arc<Cluster>>,
    telemetry: &'a Telemetry,
}

impl Maker<'_> {
    fn route(&self, route: &settings::Route) -> Result<Route, String> {
        let legs: Result<Vec<Leg>, String> =
            route.to.iter().map(|(cluster, weight)| self.leg(route, cluster, *weight)).collect();
        let split =
            Split::new(legs?).ok_or_else(|| format!("route {}: no cluster has weight", route.name))?;
        let mirror = route.mirror.as_ref().map(|mirror| self.mirror(route, mirror)).transpose()?;
        Ok(Route {
            name: route.name.clone(),
            conditions: Conditions {
                hosts: route.hosts.clone(),
                path: route.path.clone(),
                headers: route.headers.clone(),
            },
            split,
            mirror,
            stream_idle: route.stream_idle,
            quota: self.plan.quotas.get(&route.name).cloned(),
            request_headers: Rewrite(route.request_headers.clone()),
            response_headers: Rewrite(route.response_headers.clone()),
            fault: route.fault.clone().map(Fault),
        })
    }

    fn leg(&self, route: &settings::Route, cluster: &str, weight: u32) -> Result<Leg, String> {
        let cluster = self.cluster(route, cluster)?;
        let config = route.repeat.clone().map(|repeat| MethodConfig { repeat, ..MethodConfig::default() });
        let other = CallOptions {
            config: config.map(Arc::new),
            deadline: None,
            keep_authority: cluster.settings.authority.is_none(),
        };
        let deadline = route.deadline.map(|allowed| (allowed, DeadlineOrigin::Route));
        let unary = Arc::new(CallOptions { deadline, ..other.clone() });
        let meter = self.telemetry.route(&route.name, &cluster.name);
        Ok(Leg { weight, cluster, unary, other: Arc::new(other), meter })
    }

    fn mirror(&self, route: &settings::Route, mirror: &settings::Mirror) -> Result<Mirror, String> {
        let cluster = self.cluster(route, &mirror.cluster)?;
        // Once, without retries: a copy is not worth them.
        let options = CallOptions {
            config: Some(Arc::default()),
            deadline: None,
            keep_authority: cluster.settings.authority.is_none(),
        };
        let same = |known: &&Arc<Route>| known.name == route.name;
        let known = self.previous.and_then(|previous| previous.routes.iter().find(same));
        let running = known.and_then(|route| route.mirror.as_ref()).map(|mirror| mirror.running.clone());
        Ok(Mirror {
            cluster,
            options: Arc::new(options),
            percent: mirror.percent,
            calls_max: mirror.calls_max,
            running: running.unwrap_or_else(|| Arc::new(AtomicUsize::new(0))),
        })
    }

    fn cluster(&self, route: &settings::Route, name: &str) -> Result<Arc<Cluster>, String> {
        let known = self.clusters.get(name).cloned();
        known.ok_or_else(|| format!("route {}: there is no cluster {name}", route.name))
    }
}
