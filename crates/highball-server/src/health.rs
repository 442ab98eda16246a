//! Health: what is ready, and who asks.
//!
//! `livez` says the process works; `readyz` and the empty name say it wants traffic: every dependency is up and no drain
//! has begun. A service is ready when the server is and nobody switched it off by name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use futures_util::stream;
use highball_core::{Body, Code, Status};
use highball_net::Draining;
use http::{Request, Response};
use tokio::sync::watch;

use crate::builtin::grpc::health::v1::health_check_response::ServingStatus;
use crate::builtin::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use crate::message::{self, Inbound};

/// Most entries List may return (gRFC A90).
const LIST_MAX: usize = 100;

/// The readiness of a server and its services. Clones share it.
#[derive(Clone)]
pub struct Health(Arc<watch::Sender<State>>);

#[derive(Debug, Default)]
struct State {
    /// Hosted services and whether they were switched off.
    services: BTreeMap<String, bool>,
    /// What is wrong with each dependency; `None` when it is up.
    dependencies: BTreeMap<String, Option<String>>,
    /// The whole server was switched off by name.
    off: bool,
    draining: bool,
}

impl State {
    fn ready(&self) -> bool {
        !self.off && !self.draining && self.dependencies.values().all(Option::is_none)
    }

    fn status(&self, service: &str) -> Option<ServingStatus> {
        let serving = match service {
            "livez" => true,
            "" | "readyz" => self.ready(),
            name => *self.services.get(name)? && self.ready(),
        };
        Some(if serving { ServingStatus::SERVING } else { ServingStatus::NOT_SERVING })
    }
}

impl Health {
    /// Ready, without dependencies. The server adds the services its descriptors name.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Declares that the server is ready only while `name` is up. It starts down, with the reason "starting".
    #[must_use]
    pub fn ready_when(&self, name: impl Into<String>) -> Dependency {
        let dependency = Dependency { health: self.clone(), name: name.into().into() };
        // Declared twice, it stays as it is.
        self.0.send_if_modified(|state| {
            let starting = || Some("starting".to_owned());
            match state.dependencies.entry(dependency.name.to_string()) {
                Entry::Vacant(vacant) => vacant.insert(starting()).is_some(),
                Entry::Occupied(_) => false,
            }
        });
        dependency
    }

    /// Switches one service on or off by its full name; an unknown one becomes known. The empty name is the whole server,
    /// as in every gRPC health library. `livez` and `readyz` follow from the rest and cannot be set.
    pub fn set_serving(&self, service: impl Into<String>, serving: bool) {
        let service = service.into();
        if service.is_empty() {
            self.0.send_if_modified(|state| std::mem::replace(&mut state.off, !serving) == serving);
            return;
        }
        self.0.send_if_modified(|state| state.services.insert(service, serving) != Some(serving));
    }

    /// Whether the server wants traffic; otherwise every reason why not.
    ///
    /// # Errors
    /// Sentences such as `database: disk is full`. They may name internals: show them to operators, not to callers.
    pub fn readiness(&self) -> Result<(), Vec<String>> {
        let state = self.0.borrow();
        let mut reasons: Vec<String> = Vec::new();
        if state.off {
            reasons.push("switched off".to_owned());
        }
        if state.draining {
            reasons.push("draining".to_owned());
        }
        let down = state
            .dependencies
            .iter()
            .filter_map(|(name, down)| down.as_ref().map(|why| format!("{name}: {why}")));
        reasons.extend(down);
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Resolves when the server wants traffic.
    pub(crate) async fn ready(&self) {
        // The sender lives as long as `self`.
        self.0.subscribe().wait_for(State::ready).await.ok();
    }

    /// From now on nothing is ready, whatever dependencies say.
    pub(crate) fn drain(&self) {
        self.0.send_modify(|state| state.draining = true);
    }

    /// Answers one RPC of `grpc.health.v1.Health`.
    pub(crate) async fn call(
        &self,
        method: &str,
        draining: Draining,
        request: Request<Body>,
    ) -> Response<Body> {
        let inbound = Inbound::new(request.into_body());
        match method {
            "Check" => message::unary(self.check(inbound).await),
            "List" => message::unary(self.list(inbound).await),
            _ => match inbound.unary::<HealthCheckRequest>().await {
                Ok(request) => self.watch(request.service, draining),
                Err(status) => status.into_response(),
            },
        }
    }

    async fn check(&self, inbound: Inbound) -> Result<HealthCheckResponse, Status> {
        let request: HealthCheckRequest = inbound.unary().await?;
        let status = self.0.borrow().status(&request.service);
        status.map(response).ok_or_else(|| Status::new(Code::NotFound, "unknown service"))
    }

    async fn list(&self, inbound: Inbound) -> Result<HealthListResponse, Status> {
        let _: HealthListRequest = inbound.unary().await?;
        let state = self.0.borrow();
        let names = ["", "livez", "readyz"].into_iter().chain(state.services.keys().map(String::as_str));
        let statuses =
            names.filter_map(|name| Some((name.to_owned(), response(state.status(name)?)))).collect();
        let list = HealthListResponse { statuses, ..Default::default() };
        if list.statuses.len() > LIST_MAX {
            return Err(Status::new(
                Code::ResourceExhausted,
                "more than 100 services; ask for each with Check",
            ));
        }
        Ok(list)
    }

    /// The status at once, then every change of it. Changes that come faster than the caller reads are merged into the
    /// latest. Ends UNAVAILABLE when the drain begins, so that the stream does not hold the connection.
    fn watch(&self, service: String, draining: Draining) -> Response<Body> {
        let watcher = Watcher { ear: self.0.subscribe(), service, draining, sent: None, ended: false };
        message::stream(stream::unfold(watcher, |mut watcher| async move {
            let item = watcher.next().await?;
            Some((item, watcher))
        }))
    }
}

struct Watcher {
    ear: watch::Receiver<State>,
    service: String,
    draining: Draining,
    sent: Option<ServingStatus>,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<HealthCheckResponse, Status>> {
        if self.ended {
            return None;
        }
        loop {
            let status =
                self.ear.borrow_and_update().status(&self.service).unwrap_or(ServingStatus::SERVICE_UNKNOWN);
            if self.sent.replace(status) != Some(status) {
                return Some(Ok(response(status)));
            }
            let changed = tokio::select! {
                // The last change, to NOT_SERVING, comes together with the drain when there is no lame duck.
                biased;
                changed = self.ear.changed() => changed.is_ok(),
                () = self.draining.begun() => false,
            };
            if !changed {
                self.ended = true;
                return Some(Err(Status::new(Code::Unavailable, "the server is shutting down")));
            }
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into(), ..Default::default() }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Health").field(&*self.0.borrow()).finish()
    }
}

/// Something the server needs to be ready, reported by whoever uses it. Clones report on the same thing.
#[derive(Debug, Clone)]
pub struct Dependency {
    health: Health,
    name: Arc<str>,
}

impl Dependency {
    /// It works.
    pub fn up(&self) {
        self.set(None);
    }

    /// It does not; `reason` is shown on the admin port.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, down: Option<String>) {
        self.health.0.send_if_modified(|state| match state.dependencies.get_mut(&*self.name) {
            Some(now) if *now == down => false,
            Some(now) => {
                *now = down;
                true
            }
            None => {
                state.dependencies.insert(self.name.to_string(), down);
                true
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_dependencies_and_drain_and_liveness_does_not() {
        let health = Health::new();
        health.set_serving("shop.v1.Orders", true);
        let status = |name: &str| health.0.borrow().status(name);
        let database = health.ready_when("database");
        assert_eq!(health.readiness(), Err(vec!["database: starting".to_owned()]));
        assert_eq!(status("shop.v1.Orders"), Some(ServingStatus::NOT_SERVING));
        database.up();
        assert_eq!(health.readiness(), Ok(()));
        assert_eq!(status("shop.v1.Orders"), Some(ServingStatus::SERVING));
        health.set_serving("shop.v1.Orders", false);
        assert_eq!(status("shop.v1.Orders"), Some(ServingStatus::NOT_SERVING));
        assert_eq!(status(""), Some(ServingStatus::SERVING));
        health.set_serving("", false);
        assert_eq!(health.readiness(), Err(vec!["switched off".to_owned()]));
        assert_eq!(status(""), Some(ServingStatus::NOT_SERVING));
        health.set_serving("", true);
        assert_eq!(health.readiness(), Ok(()));
        health.drain();
        database.up();
        assert_eq!(
            (status(""), status("readyz")),
            (Some(ServingStatus::NOT_SERVING), Some(ServingStatus::NOT_SERVING))
        );
        assert_eq!(status("livez"), Some(ServingStatus::SERVING));
        assert_eq!(status("nobody"), None);
    }

    #[tokio::test]
    async fn a_watcher_hears_an_unknown_service_become_known() {
        let health = Health::new();
        let ear = health.0.subscribe();
        let mut watcher =
            Watcher { ear, service: "later".into(), draining: Draining::never(), sent: None, ended: false };
        let first = watcher.next().await.unwrap().unwrap();
        assert_eq!(first, response(ServingStatus::SERVICE_UNKNOWN));
        health.set_serving("other", true);
        health.set_serving("later", true);
        assert_eq!(watcher.next().await.unwrap().unwrap(), response(ServingStatus::SERVING));
    }
}
