//! Three backends behind one channel, killed and restarted under load.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use buffa::Message;
use futures_util::future::join_all;
use highball::core::envelope::seal;
use highball::{Channel, Code, Status};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use orders::proto::greeter::HelloRequest;
use tempfile::TempDir;

use crate::caller::numbered;
use crate::program::Program;

/// How long one backend is restarted again and again. `BACKENDS_SECONDS` makes it longer.
const CHAOS: Duration = Duration::from_secs(6);
const CALLERS: usize = 6;

/// A place where a program runs, again and again on the same port.
struct Place {
    dir: TempDir,
    addr: SocketAddr,
}

impl Place {
    fn new() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { dir: tempfile::tempdir().unwrap(), addr: free.local_addr().unwrap() }
    }

    async fn start(&self) -> Program {
        let addr = self.addr.to_string();
        Program::start_with(&PathBuf::from(self.dir.path()), &["--listen", &addr]).await
    }
}

async fn call(channel: &Channel, path: &str, message: &impl Message) -> Status {
    let body = Full::new(seal(&message.encode_to_vec()));
    let request = Request::post(path).header("content-type", "application/grpc").body(body).unwrap();
    let response = channel.call(request).await;
    if let Some(status) = Status::from_headers(response.headers()) {
        return status;
    }
    let collected = response.into_body().collect().await.expect("the body of a channel never fails");
    Status::from_headers(collected.trailers().expect("trailers")).expect("a status")
}

#[derive(Default)]
struct Load {
    over: AtomicBool,
    greeted: AtomicU64,
    ordered: AtomicU64,
    lost: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// NO_SIDE_EFFECTS in the proto: none may fail.
    async fn greet(&self, channel: &Channel) {
        while self.goes_on() {
            let hello = HelloRequest { name: "Rail".into(), ..Default::default() };
            let status = call(channel, "/greeter.Greeter/SayHello", &hello).await;
            assert_eq!(status.code(), Code::Ok, "{status}");
            self.greeted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Without a key an order must not be sent twice: it may fail, but only if a server may have seen it.
    async fn order(&self, channel: &Channel, caller: usize) {
        for number in (caller..).step_by(CALLERS) {
            if !self.goes_on() {
                return;
            }
            let status =
                call(channel, "/ecommerce.v1.OrderService/CreateOrder", &numbered(number, CALLERS)).await;
            match status.code() {
                Code::Ok => self.ordered.fetch_add(1, Ordering::Relaxed),
                _ => {
                    let seen = status.message() == "the connection was lost";
                    assert!(seen && status.code() == Code::Unavailable, "{status}");
                    self.lost.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
    }
}

fn chaos_lasts() -> Duration {
    let seconds = std::env::var("BACKENDS_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(CHAOS, Duration::from_secs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_restarts_fail_no_idempotent_call_and_others_only_if_they_may_have_been_seen() {
    let places = [Place::new(), Place::new(), Place::new()];
    let [steady, doomed, restless] = &places;
    let _steady = steady.start().await;
    let doomed = doomed.start().await;
    let mut running = restless.start().await;
    let target: Vec<String> = places.iter().map(|place| place.addr.to_string()).collect();
    let channel = Channel::builder(&format!("static:///{}", target.join(",")))
        .with_descriptors(orders::DESCRIPTORS)
        .build()
        .unwrap();
    channel.ready().await;
    let load = Load::default();
    let chaos = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        doomed.kill().await;
        let end = tokio::time::Instant::now() + chaos_lasts();
        let mut restarts = 0;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.kill().await;
            running = restless.start().await;
            restarts += 1;
        }
        load.over.store(true, Ordering::Relaxed);
        restarts
    };
    let greeters = join_all((0..CALLERS).map(|_| load.greet(&channel)));
    let orderers = join_all((0..CALLERS).map(|caller| load.order(&channel, caller)));
    let (restarts, _, _) = tokio::join!(chaos, greeters, orderers);
    let (greeted, ordered, lost) =
        (load.greeted.into_inner(), load.ordered.into_inner(), load.lost.into_inner());
    println!(
        "{restarts} restarts: {greeted} greetings, none failed; {ordered} orders, {lost} failed half-way"
    );
    assert!(restarts >= 2 && greeted > 100 && ordered > 10, "there was load");
    // Each of the kills can cut no more than what was under way there.
    assert!(lost <= (restarts + 1) * CALLERS as u64, "{lost} lost in {restarts} restarts");
    assert_eq!(channel.snapshot().calls, 0);
}
