//! What an edge would do with a call, and why; and what state it is in. For people, on the admin port.

use std::sync::Arc;

use highball_channel::explain::Snapshot;
use highball_channel::service_config::Repeat;
use highball_core::{Body, Code, Method};
use highball_server::AdminPages;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use serde::Serialize;

use crate::edge::Control;
use crate::route::{self, Leg, Route};

/// Channels that one page tells of.
const CHANNELS_MAX: usize = 256;

/// `/edge`: everything, or `/edge?cluster=NAME`: one cluster. With more than 256 channels, those of one worker and 256 at most,
/// unless one cluster is asked for.
#[derive(Debug, Serialize)]
pub struct State {
    /// Threads that carry connections, each with its own connections to the backends.
    pub workers: usize,
    /// Routes in their order.
    pub routes: Vec<RouteState>,
    /// Clusters by name; for each worker what its channel knows.
    pub clusters: Vec<ClusterState>,
}

/// A route in short.
#[derive(Debug, Serialize)]
pub struct RouteState {
    /// Its name.
    pub name: String,
    /// Where it leads, with weights.
    pub to: Vec<(String, u32)>,
}

/// A cluster.
#[derive(Debug, Serialize)]
pub struct ClusterState {
    /// Its name.
    pub name: String,
    /// What each worker's channel knows.
    pub workers: Vec<Snapshot>,
}

/// `/edge/explain?method=package.Service/Method&host=NAME&header=NAME:VALUE`: one call.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// What would be called.
    pub method: String,
    /// Routes that were looked at before, and why they do not match.
    pub passed_over: Vec<PassedOver>,
    /// The route that matches.
    pub route: Option<Taken>,
}

/// A route that does not match.
#[derive(Debug, Serialize)]
pub struct PassedOver {
    /// Its name.
    pub route: String,
    /// The first condition that does not hold.
    pub why: String,
}

/// The route that matches.
#[derive(Debug, Serialize)]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// Silence after which a stream is ended; absent for the server's.
    pub stream_idle: Option<String>,
    /// Where copies go.
    pub mirror: Option<String>,
    /// Whether it has a budget for each caller.
    pub rate: bool,
    /// Whether it injects faults.
    pub fault: bool,
    /// The clusters it may choose.
    pub clusters: Vec<Way>,
}

/// One cluster of a route.
#[derive(Debug, Serialize)]
pub struct Way {
    /// Its name.
    pub cluster: String,
    /// Per cent of the calls.
    pub percent: f64,
    /// The most time a unary call gets from the route, beside what its caller and the server say.
    pub deadline: Option<String>,
    /// How it is repeated.
    pub repeat: String,
    /// `READY` and so on.
    pub state: &'static str,
    /// The backend it would go to now, as the first worker sees it, and why.
    pub endpoint: Option<(String, &'static str)>,
    /// Why it would go to none.
    pub trouble: Option<String>,
}

/// The pages of an edge.
pub(crate) fn pages(control: Arc<Control>) -> AdminPages {
    Arc::new(move |request: &Request<Body>| match request.uri().path() {
        "/edge" => Some(json(StatusCode::OK, &state(&control, request.uri().query()))),
        "/edge/explain" => Some(match Question::read(request.uri()) {
            Ok(question) => json(StatusCode::OK, &explain(&control, &question)),
            Err(problem) => json(StatusCode::BAD_REQUEST, &problem),
        }),
        _ => None,
    })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::new(http_body_util::Full::from(text)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn state(control: &Control, query: Option<&str>) -> State {
    let only = query.and_then(|query| query.strip_prefix("cluster="));
    let tables: Vec<_> = control.workers.iter().map(|worker| worker.table.load_full()).collect();
    let Some(first) = tables.first() else {
        return State { workers: 0, routes: Vec::new(), clusters: Vec::new() };
    };
    let routes = first.routes.iter().map(|route| RouteState {
        name: route.name.clone(),
        to: route.split.legs().iter().map(|leg| (leg.cluster.name.clone(), leg.weight)).collect(),
    });
    // A large edge tells of one worker, unless it is asked for one cluster: the page is made in one go.
    let told =
        if first.clusters.len() * tables.len() > CHANNELS_MAX && only.is_none() { 1 } else { tables.len() };
    let names = first.clusters.keys().filter(|name| only.is_none_or(|only| only == *name));
    let clusters = names.take(CHANNELS_MAX).map(|name| ClusterState {
        name: name.clone(),
        workers: tables
            .iter()
            .take(told)
            .filter_map(|table| table.clusters.get(name))
            .map(|cluster| cluster.channel.snapshot())
            .collect(),
    });
    State { workers: tables.len(), routes: routes.collect(), clusters: clusters.collect() }
}

/// What somebody wants to know.
struct Question {
    method: Method,
    host: String,
    headers: HeaderMap,
}

impl Question {
    fn read(uri: &Uri) -> Result<Self, String> {
        let (mut method, mut host, mut headers) = (None, String::new(), HeaderMap::new());
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            match name {
                "method" => {
                    let path = format!("/{}", value.trim_start_matches('/')).parse::<PathAndQuery>().ok();
                    method = path.and_then(|path| Method::parse(&path).ok());
                }
                "host" => {
                    let authority: Authority =
                        value.parse().map_err(|_| format!("host {value:?}: expected NAME or NAME:PORT"))?;
                    host = route::host_named(authority.host());
                }
                "header" => {
                    let header = value.split_once(':').and_then(|(name, value)| {
                        Some((
                            name.trim().parse::<HeaderName>().ok()?,
                            HeaderValue::from_str(value.trim()).ok()?,
                        ))
                    });
                    let (name, value) =
                        header.ok_or_else(|| format!("header {value:?}: expected NAME:VALUE"))?;
                    headers.append(name, value);
                }
                _ => return Err(format!("unknown parameter {name:?}; there are method, host and header")),
            }
        }
        let method = method.ok_or("method: expected package.Service/Method")?;
        Ok(Self { method, host, headers })
    }
}

fn explain(control: &Control, question: &Question) -> Explanation {
    let Question { method, host, headers } = question;
    let mut passed_over = Vec::new();
    let table = control.workers.first().map(|worker| worker.table.load_full());
    let mut route = None;
    for candidate in table.iter().flat_map(|table| &table.routes) {
        match candidate.conditions.unmet(host, method, headers) {
            Some(why) => passed_over.push(PassedOver { route: candidate.name.clone(), why }),
            None => {
                route = Some(taken(candidate, question));
                break;
            }
        }
    }
    Explanation { method: method.full_name().to_owned(), passed_over, route }
}

fn taken(route: &Route, question: &Question) -> Taken {
    let total: u64 = route.split.legs().iter().map(|leg| u64::from(leg.weight)).sum();
    Taken {
        name: route.name.clone(),
        stream_idle: route.stream_idle.map(|silence| format!("{silence:?}")),
        mirror: route.mirror.as_ref().map(|mirror| mirror.cluster.name.clone()),
        rate: route.quota.is_some(),
        fault: route.fault.is_some(),
        clusters: route.split.legs().iter().map(|leg| way(leg, total, question)).collect(),
    }
}

fn way(leg: &Leg, total: u64, question: &Question) -> Way {
    let channel = &leg.cluster.channel;
    let config = leg.unary.config.as_deref().cloned().or_else(|| channel.method_config(&question.method));
    let picked = channel.would_pick(&question.method, &question.headers);
    Way {
        cluster: leg.cluster.name.clone(),
        percent: f64::from(leg.weight) * 100.0 / total as f64,
        deadline: leg.unary.deadline.map(|(allowed, _)| format!("{allowed:?}")),
        repeat: match config.map(|config| config.repeat) {
            None | Some(Repeat::Never) => "once, and again what never reached a backend".to_owned(),
            Some(Repeat::Retry(policy)) => {
                let codes: Vec<&str> = policy.retryable_codes.iter().map(Code::name).collect();
                format!("up to {} attempts while the answer is {}", policy.max_attempts, codes.join(" or "))
            }
            Some(Repeat::Hedge(policy)) => {
                format!("up to {} attempts, one every {:?}", policy.max_attempts, policy.delay)
            }
        },
        state: channel.state().name(),
        endpoint: picked.as_ref().ok().cloned(),
        trouble: picked.err(),
    }
}
