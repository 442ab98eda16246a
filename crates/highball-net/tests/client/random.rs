//! Anything at any time: whatever happens to streams, their places come back and what they report is true.

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use highball_net::client::{SendErrorKind, Settings};
use http_body_util::BodyExt as _;
use proptest::prelude::*;

use crate::world::*;

/// What one stream does.
#[derive(Debug, Clone)]
struct Plan {
    /// What the server does with it: 0 answers, 1 echoes, 2 resets, 3 refuses, 4 never answers, 5 answers at once.
    server: u8,
    /// Bytes of the request.
    size: usize,
    /// Whether the request comes in pieces over time.
    streams: bool,
    /// Polls until the caller drops everything; never, for 0.
    patience: usize,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let plan = (0..6_u8, 0..200_000_usize, any::<bool>(), 0..6_usize)
        .prop_map(|(server, size, streams, patience)| Plan { server, size, streams, patience });
    proptest::collection::vec(plan, 1..24)
}

async fn serve((request, mut respond): Arrived) {
    let plan: u8 =
        request.headers()["plan"].to_str().ok().and_then(|plan| plan.parse().ok()).expect("a plan");
    let mut body = request.into_body();
    match plan {
        2 => return respond.send_reset(Reason::INTERNAL_ERROR),
        3 => return respond.send_reset(Reason::REFUSED_STREAM),
        4 => return drop(body.data().await),
        5 => return drop(respond.send_response(head(), true)),
        _ => {}
    }
    let early = if plan == 1 { respond.send_response(head(), false).ok() } else { None };
    let mut total = 0;
    while let Some(Ok(data)) = body.data().await {
        total += data.len();
        body.flow_control().release_capacity(data.len()).ok();
    }
    let out = early.or_else(|| respond.send_response(head(), false).ok());
    if let Some(mut out) = out {
        out.send_data(total.to_string().into(), true).ok();
    }
}

/// One stream; a failure is told by its kind.
async fn run(client: highball_net::client::Connection, plan: Plan) -> Result<Bytes, SendErrorKind> {
    let slot = client.slot().await.expect("nobody closes it");
    let (mut sender, mut request) = streaming();
    if !plan.streams {
        request = whole(vec![1; plan.size]);
    }
    request.headers_mut().insert("plan", plan.server.to_string().parse().expect("a value"));
    let write = async {
        let mut left = if plan.streams { plan.size } else { 0 };
        while left > 0 {
            let piece = left.min(7_000);
            left -= piece;
            if sender.send_data(vec![1; piece].into()).await.is_err() {
                break;
            }
        }
        drop(sender);
    };
    let read = async {
        let mut body = slot.send(request).await.map_err(|error| error.kind)?.into_body();
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            seen.extend(frame.map_err(|error| kind(&error))?.into_data().expect("data"));
        }
        Ok(Bytes::from(seen))
    };
    tokio::join!(read, write).0
}

async fn all(plans: Vec<Plan>, limit: u32) {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(limit).max_pending_accept_reset_streams(1000);
    let settings = Settings { connection_window_bytes: 100_000, ..Settings::default() };
    let (tasks, client, mut server) = pair(&settings, &builder).await;
    let spawner = tasks.spawner();
    tasks.spawn(async move {
        while let Some(Ok(arrived)) = server.accept().await {
            spawner.spawn(serve(arrived));
        }
    });
    let mut running = Vec::new();
    for plan in plans {
        let task = tokio::spawn(run(client.clone(), plan.clone()));
        if plan.patience > 0 {
            for _ in 0..plan.patience * 3 {
                tokio::task::yield_now().await;
            }
            task.abort();
        }
        running.push((plan, task));
    }
    for (plan, task) in running {
        let Ok(outcome) = soon(task).await else { continue };
        match (plan.server, outcome) {
            (0 | 1, Ok(total)) => assert_eq!(total, plan.size.to_string(), "{plan:?}"),
            (5, Ok(nothing)) => assert!(nothing.is_empty()),
            (2, outcome) => assert_eq!(outcome, Err(SendErrorKind::Reset(2)), "{plan:?}"),
            (3, outcome) => assert_eq!(outcome, Err(SendErrorKind::Refused), "{plan:?}"),
            // Dropped by the server without an answer.
            (4, outcome) => assert_eq!(outcome, Err(SendErrorKind::Reset(8)), "{plan:?}"),
            (_, outcome) => panic!("{plan:?} ended with {outcome:?}"),
        }
    }
    all_free(&client).await;
    client.close();
    soon(client.closed()).await;
    soon(tasks.finished()).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_place_comes_back_and_every_report_is_true(plans in plans(), limit in 1..6_u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(all(plans, limit));
    }
}
