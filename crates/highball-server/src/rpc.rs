//! Walk a: what happens to an RPC, in the order in which it happens.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use highball_auth::Guard;
use highball_core::deadline::parse_timeout;
use highball_core::{Body, Code, Dialect, Method, MethodKind, Rpc, Status};
use highball_gateway::Gateway;
use highball_net::{Draining, Incoming, Platform};
use highball_telemetry::{Event, Telemetry, TraceId};
use http::header::ALLOW;
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::time::Instant;

use crate::accept::Session;
use crate::admin::AdminPages;
use crate::admit::Admission;
use crate::health::Health;
use crate::hosted::Services;
use crate::limit::{self, Encoding, Limited};
use crate::methods::{Entry, Methods, ServedBy};
use crate::rate::{Budgets, Failures};
use crate::record::{InFlight, Record};
use crate::stop::Stop;
use crate::{Settings, admin, reflection, response};

/// Everything the walk needs, built at start and never changed.
pub(crate) struct Host {
    pub(crate) settings: Settings,
    pub(crate) services: Services,
    pub(crate) methods: Methods,
    pub(crate) admission: Admission,
    /// Who may call what; `None` for anyone anything.
    pub(crate) guard: Option<Guard>,
    pub(crate) rates: Option<Budgets>,
    pub(crate) failures: Option<Failures>,
    pub(crate) health: Health,
    pub(crate) telemetry: Telemetry,
    pub(crate) pages: Option<AdminPages>,
    /// Takes requests that are not gRPC.
    pub(crate) gateway: Option<Arc<Gateway>>,
    pub(crate) in_flight: Arc<InFlight>,
    /// The phases of the whole server; an RPC hears those of its connection.
    pub(crate) draining: Draining,
    pub(crate) platform: Arc<dyn Platform>,
}

/// Answers one request. Infallible: every failure is a response, and every RPC ends its record exactly once.
///
/// Dropping the future means that the caller went away: the service's future is dropped with it and the RPC is recorded
/// as CANCELLED.
// Not an `async fn`: the future of one holds its arguments twice, and every RPC pays for its size.
#[expect(clippy::manual_async_fn, reason = "see above")]
pub(crate) fn handle(
    host: Arc<Host>,
    session: Arc<Session>,
    draining: Draining,
    request: Request<Incoming>,
) -> impl Future<Output = Response<Body>> + Send {
    async move {
        // Recognise. What is not an RPC gets an HTTP answer and no record.
        let (dialect, method) = match recognise(&request) {
            Ok(recognised) => recognised,
            Err(refusal) => return refusal.respond(request.method(), &host.telemetry),
        };
        let entry = host.methods.find(&method);
        let probe = entry.served_by == ServedBy::Health && entry.kind == MethodKind::Unary;

        // Start the record, with the deadline parsed, clamped or defaulted.
        let started = Instant::now();
        let timeout = parse_timeout(request.headers());
        let deadline = timeout.as_ref().ok().and_then(|asked| entry.limits.deadline(started, *asked));
        let connection = session.connection.clone();
        let caller = connection.caller.clone();
        let rpc = Rpc { method, kind: entry.kind, dialect, deadline, caller, started, connection };
        let mut record = Record::start(&host, entry, rpc, TraceId::from_headers(request.headers()));
        let mut stop = Stop::new(draining.clone());
        if let Err(malformed) = timeout {
            return record.refuse(Status::new(Code::Internal, malformed.to_string()));
        }

        // Admit. Probes must not fail because the server is busy.
        if !probe {
            match host.admission.admit(entry.lane) {
                Ok(permit) => record.hold(permit),
                Err(status) => return record.refuse(status),
            }
        }

        // Authenticate, authorise.
        if let Some(guard) = &host.guard {
            if let Some(failures) = &host.failures
                && let Err(status) = failures.check(guard, record.rpc(), request.headers(), &session.shown)
            {
                return record.refuse(status);
            }
            let Rpc { method, caller, .. } = record.rpc();
            let checked =
                guard.check_shown(method, request.headers(), caller.clone(), &session.shown, started);
            let checked = stop.guard(&record, pin!(Some(checked))).await;
            match checked {
                Ok(Ok(admitted)) => record.verified(admitted.caller),
                Ok(Err(denial)) => {
                    host.failures.iter().for_each(|failures| failures.count(record.rpc(), &denial));
                    return record.deny(denial);
                }
                Err(status) => return record.refuse(status),
            }
        }

        // Rate.
        if let Some(rates) = host.rates.as_ref().filter(|_| !probe)
            && let Err(status) = rates.take(record.rpc())
        {
            return record.refuse(status);
        }

        // Whatever the service calls finds the RPC by itself.
        stop.scope = Some(record.publish(request.headers()));

        // Limit the body.
        let request = match limited(request, &host, entry, &record, draining) {
            Ok(request) => request,
            Err(status) => return limit::refused(record.refuse(status)),
        };

        // The service, until the deadline, with panics caught.
        let answer = host.answer(entry.served_by, session.worker, request);
        let answer = stop.guard(&record, pin!(Some(answer))).await;

        // Normalise; the record travels in the body and ends with it.
        let normalised = match answer {
            Ok(answer) => response::normalise(answer, record, stop),
            Err(status) => return record.refuse(status),
        };
        normalised.await
    }
}

impl Host {
    fn answer(
        &self,
        served_by: ServedBy,
        worker: usize,
        request: Request<Body>,
    ) -> impl Future<Output = Response<Body>> + Send {
        // Ours hear of a drain as any other service does.
        let draining = |request: &Request<Body>| request.extensions().get().cloned();
        async move {
            match served_by {
                ServedBy::Hosted => self.services.of(worker).call(request).await,
                ServedBy::Health => {
                    let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
                    let draining = draining(&request).unwrap_or_else(Draining::never);
                    // Boxed, because every other RPC would carry it.
                    Box::pin(self.health.call(&method, draining, request)).await
                }
                ServedBy::Reflection => {
                    let draining = draining(&request).unwrap_or_else(Draining::never);
                    reflection::call(self.methods.pool(), draining, request)
                }
            }
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn limited(
    request: Request<Incoming>,
    host: &Host,
    entry: &Entry,
    record: &Record,
    draining: Draining,
) -> Result<Request<Body>, Status> {
    let (mut head, body) = request.into_parts();
    let decompress = entry.served_by != ServedBy::Hosted || host.settings.decompress;
    let encoding =
        if decompress { Encoding::take(&mut head.headers)? } else { Encoding::leave(&head.headers) };
    head.extensions.insert(record.current());
    // A long stream ends by it when its connection or the server goes away.
    head.extensions.insert(draining);
    let body = Limited::wrap(body, encoding, entry.limits.bounds(), record.call());
    Ok(Request::from_parts(head, body))
}

/// A request that is not an RPC.
struct Refusal {
    status: StatusCode,
    why: &'static str,
}

fn recognise(request: &Request<Incoming>) -> Result<(Dialect, Method), Refusal> {
    let refusal = |status, why| Refusal { status, why };
    // gRPC over HTTP/2, "Requests": another content type is 415, so that gRPC clients behind it see an HTTP error.
    let translated = request.extensions().get::<Dialect>().copied();
    let dialect = translated.or_else(|| Dialect::recognise(request.headers())).ok_or(refusal(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "this port speaks gRPC over HTTP/2: send content-type application/grpc",
    ))?;
    if request.version() != http::Version::HTTP_2 {
        return Err(refusal(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2"));
    }
    if request.method() != http::Method::POST {
        return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "gRPC requests are POST requests"));
    }
    let path = request.uri().path_and_query();
    let method = path.and_then(|path| Method::parse(path).ok());
    let method =
        method.ok_or(refusal(StatusCode::NOT_FOUND, "expected a path of /package.Service/Method"))?;
    Ok((dialect, method))
}

impl Refusal {
    fn respond(self, method: &http::Method, telemetry: &Telemetry) -> Response<Body> {
        telemetry.report(&Event::RequestRefused { status: self.status.as_u16(), why: self.why });
        let mut response = admin::text(method, self.status, format!("{}\n", self.why));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}
