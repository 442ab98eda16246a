//! A simulated server: the real one around a service with moods.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use highball::core::envelope::seal;
use highball::net::http::Settings as ConnectionSettings;
use highball::{Body, BodyError, Code, Health, ListenAddr, Server, Settings, Status, Telemetry};
use highball_testkit::sim::{Names, Random, Turmoil};
use highball_testkit::stub;
use highball_tests::SHOP_DESCRIPTORS;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::ledger::{Ledger, Seen, now};
use crate::plan::{Mood, Plan};

pub(crate) const PORT: u16 = 50051;
/// The number of the call.
pub(crate) const CALL: &str = "x-call";

/// Frames of a response.
type Frames = BoxStream<'static, Result<Frame<Bytes>, BodyError>>;

/// One of the servers, through all its lives.
pub(crate) struct Host {
    pub(crate) name: String,
    ledger: Arc<Ledger>,
    random: Random,
    settings: Settings,
    mood: Mutex<Mood>,
    /// Time between two lives.
    pause: Mutex<Duration>,
    life: Mutex<Option<Life>>,
    /// Of all lives.
    telemetries: Mutex<Vec<Telemetry>>,
    /// Attempts the service works on.
    working: Arc<AtomicUsize>,
}

/// From one start to the next.
struct Life {
    health: Health,
    stop: Arc<Notify>,
}

impl Host {
    pub(crate) fn new(number: usize, plan: &Plan, ledger: Arc<Ledger>, random: Random) -> Arc<Self> {
        Arc::new(Self {
            name: name(number),
            ledger,
            random,
            settings: settings(plan),
            mood: Mutex::new(Mood::Well),
            pause: Mutex::default(),
            life: Mutex::default(),
            telemetries: Mutex::default(),
            working: Arc::default(),
        })
    }

    /// Serves; drains when it is told to, and starts again.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        loop {
            let (health, stop, telemetry) = (Health::new(), Arc::<Notify>::default(), Telemetry::new());
            *self.life.lock().expect("unpoisoned") =
                Some(Life { health: health.clone(), stop: stop.clone() });
            self.telemetries.lock().expect("unpoisoned").push(telemetry.clone());
            let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
            let host = self.clone();
            let service = stub::service(move |request| host.clone().answer(request));
            let platform = Turmoil.with_names(Names::new()).with_random(self.random.fork());
            let server = Server::new(service)
                .with_descriptors(SHOP_DESCRIPTORS)
                .with_settings(self.settings.clone())
                .with_platform(Arc::new(platform))
                .with_health(health)
                .with_telemetry(telemetry)
                .listen(ListenAddr::Tcp(anywhere));
            let bound = server.bind().await?;
            self.ledger.note(format_args!("{} serves", self.name));
            let report = bound.run(stop.notified()).await;
            self.ledger.note(format_args!(
                "{} has drained: {} finished, {} cut",
                self.name, report.finished, report.cut
            ));
            let pause = *self.pause.lock().expect("unpoisoned");
            sleep(pause).await;
        }
    }

    pub(crate) fn restart(&self, pause: Duration) {
        *self.pause.lock().expect("unpoisoned") = pause;
        if let Some(life) = &*self.life.lock().expect("unpoisoned") {
            life.stop.notify_one();
        }
    }

    pub(crate) fn set_serving(&self, serving: bool) {
        if let Some(life) = &*self.life.lock().expect("unpoisoned") {
            life.health.set_serving("", serving);
        }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.mood.lock().expect("unpoisoned") = mood;
    }

    /// What was begun and has not ended: attempts in the service, RPCs and connections of any of its lives.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let telemetries = self.telemetries.lock().expect("unpoisoned");
        let mut found: Vec<String> = telemetries.iter().flat_map(highball_testkit::leaks::found).collect();
        let working = self.working.load(Ordering::Relaxed);
        if working > 0 {
            found.push(format!("{working} attempts in the service"));
        }
        found
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let header = |name: &str| head.headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
        let id = header(CALL).unwrap_or(u64::MAX);
        let previous = header("grpc-previous-rpc-attempts").unwrap_or(0) as u32;
        let method = head.uri.path().rsplit('/').next().unwrap_or_default();
        self.ledger.note(format_args!("{} sees {method} {id}, attempt {}", self.name, previous + 1));
        self.ledger.seen(id, Seen { at: now(), host: self.name.clone(), previous });
        let working = Working::new(&self.working);
        let mood = *self.mood.lock().expect("unpoisoned");
        match mood {
            Mood::Well | Mood::Breaking => sleep(self.random.millis(1..20)).await,
            Mood::Slow(wait) => sleep(wait).await,
            Mood::Failing(code, share) if self.random.percent(share) => {
                return Status::new(code, "not well").into_response();
            }
            Mood::Failing(..) => {}
            Mood::Hanging => std::future::pending().await,
        }
        let frames = match method {
            "Watch" => watch(&self.name, id, self.random.millis(1..60)),
            "Chat" => echo(body),
            _ => match read(body).await {
                Ok(read) => one(format!("{} {id} {read}", self.name)),
                Err(error) => stream::iter([Err(error)]).boxed(),
            },
        };
        let frames = if matches!(mood, Mood::Breaking) { broken(frames) } else { frames };
        stub::frames(frames.inspect(move |_| {
            let _kept = &working;
        }))
    }
}

pub(crate) fn name(number: usize) -> String {
    format!("b{number}")
}

/// Times so short that a world of seconds sees them all.
fn settings(plan: &Plan) -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        deadline_default: 3 * second,
        stream_idle: 3 * second,
        lame_duck: Duration::from_millis(300),
        drain_timeout: second,
        connection: ConnectionSettings {
            age_max: plan.age_max,
            age_grace: 5 * second,
            keepalive_time: 3 * second,
            keepalive_timeout: second,
            concurrent_streams_max: plan.streams_max,
            ..ConnectionSettings::default()
        },
        ..Settings::default()
    }
}

/// Counts an attempt for as long as the service works on it.
struct Working(Arc<AtomicUsize>);

impl Working {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn trailers() -> Frame<Bytes> {
    Frame::trailers(Status::new(Code::Ok, "").to_trailers())
}

fn one(text: String) -> Frames {
    stream::iter([Ok(Frame::data(seal(text.as_bytes()))), Ok(trailers())]).boxed()
}

/// Messages of a stream.
pub(crate) const WATCHED: usize = 4;

fn watch(host: &str, id: u64, pause: Duration) -> Frames {
    let message = move |n: usize, host: &str| Ok(Frame::data(seal(format!("{host} {id} {n}").as_bytes())));
    let host = host.to_owned();
    let messages = stream::iter(0..WATCHED).then(move |n| {
        let message = message(n, &host);
        async move {
            sleep(pause).await;
            message
        }
    });
    messages.chain(stream::iter([Ok(trailers())])).boxed()
}

fn echo(body: Body) -> Frames {
    let echoed = stream::unfold(body, |mut body| async move {
        let frame = body.frame().await?;
        Some((frame, body))
    });
    echoed.chain(stream::iter([Ok(trailers())])).boxed()
}

fn broken(frames: Frames) -> Frames {
    let fault = stream::iter([Err(BodyError::new(std::io::Error::other("broken")))]);
    frames.take(1).chain(fault).boxed()
}

/// More than any call of a world sends.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// How much was sent, and a digest of it.
async fn read(body: Body) -> Result<String, BodyError> {
    #[expect(clippy::disallowed_methods, reason = "limited")]
    let read = Limited::new(body, REQUEST_BYTES_MAX).collect().await;
    Ok(digest(&read.map_err(BodyError::new)?.to_bytes()))
}

/// Of what went over the wire.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("{} {sum:x}", bytes.len())
}

/// The headers of a response carry nothing of their own.
pub(crate) fn status_of(headers: &HeaderMap) -> Option<Status> {
    Status::from_headers(headers)
}
