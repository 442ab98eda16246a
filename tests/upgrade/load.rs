//! Callers and connections that do not stop.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use highball::core::envelope::seal;
use highball::{Channel, Code, Status};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinSet;

use crate::program::Service;
use crate::until;

/// What was seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) calls: u64,
    /// Calls that did not end OK, and how.
    pub(crate) failures: Vec<String>,
    /// The processes that answered.
    pub(crate) pids: BTreeSet<u32>,
    /// Answers of the process that answered last, without another's in between.
    streak: (u32, u64),
    pub(crate) connections: u64,
    /// Connections that were refused, and how.
    pub(crate) refused: Vec<String>,
}

impl Seen {
    fn count(&mut self, outcome: Result<u32, String>) {
        self.calls += 1;
        match outcome {
            Ok(pid) => {
                self.pids.insert(pid);
                let before = if self.streak.0 == pid { self.streak.1 } else { 0 };
                self.streak = (pid, before + 1);
            }
            Err(failure) => self.failures.push(failure),
        }
    }
}

/// Calls over TCP and over a Unix socket, each over a channel that reconnects, and connections that only connect.
pub(crate) struct Load {
    seen: Arc<Mutex<Seen>>,
    stopped: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(service: &Service) -> Self {
        let mut load = Self { seen: Arc::default(), stopped: Arc::default(), tasks: JoinSet::new() };
        let unix = format!("unix://{}", service.unix().display());
        for target in [format!("static:///{}", service.addr), unix] {
            let channel = Channel::new(&target).unwrap();
            for caller in 0..4 {
                load.tasks.spawn(calls(
                    channel.clone(),
                    caller == 0,
                    load.seen.clone(),
                    load.stopped.clone(),
                ));
            }
        }
        load.tasks.spawn(connections(service.addr, load.seen.clone(), load.stopped.clone()));
        load
    }

    /// Waits until a process has answered.
    pub(crate) async fn answered_by(&self, pid: u32) {
        until("the process answers", || self.seen.lock().unwrap().pids.contains(&pid)).await;
    }

    /// Waits until a process has answered many times from now on.
    pub(crate) async fn answered_again(&self, pid: u32) {
        let before = self.seen.lock().unwrap().calls;
        until("the process answers", || {
            let seen = self.seen.lock().unwrap();
            seen.streak.0 == pid && seen.streak.1 > 100 && seen.calls > before + 100
        })
        .await;
    }

    pub(crate) async fn stop(mut self) -> Seen {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.seen.lock().unwrap().clone()
    }
}

async fn calls(channel: Channel, slow: bool, seen: Arc<Mutex<Seen>>, stopped: Arc<AtomicBool>) {
    while !stopped.load(Ordering::Relaxed) {
        let outcome = call(&channel, slow).await;
        seen.lock().unwrap().count(outcome);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn call(channel: &Channel, slow: bool) -> Result<u32, String> {
    let mut request = Request::post("/shop.v1.Shop/Get").header("content-type", "application/grpc");
    if slow {
        request = request.header("slow", "1");
    }
    let request = request.body(Full::new(seal(b"who"))).unwrap();
    let (head, body) = channel.call(request).await.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    let status = Status::from_headers(trailers).ok_or("no status")?;
    if status.code() != Code::Ok {
        return Err(format!("{}: {}", status.code().name(), status.message()));
    }
    let message: Bytes = body.to_bytes().slice(5..);
    std::str::from_utf8(&message).unwrap().parse().map_err(|_| "no answer".to_owned())
}

/// Connects, over and over. That somebody accepts is seen by the calls.
async fn connections(addr: std::net::SocketAddr, seen: Arc<Mutex<Seen>>, stopped: Arc<AtomicBool>) {
    while !stopped.load(Ordering::Relaxed) {
        let connected = tokio::net::TcpStream::connect(addr).await;
        {
            let mut seen = seen.lock().unwrap();
            seen.connections += 1;
            seen.refused.extend(connected.err().map(|error| error.to_string()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
