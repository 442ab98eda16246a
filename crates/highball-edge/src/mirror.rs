//! A second copy of an RPC, that nobody waits for.
//!
//! What the caller sends is handed on to both as it comes. The copy never holds up the original: what the mirror's backend
//! does not take in time is not kept for it, and the copy is given up. It goes on for as long as its original, and a little
//! longer when that was answered; a caller that goes away takes it along.

mod tee;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use highball_channel::CallOptions;
use highball_core::{Body, BodyError, current};
use highball_net::Spawner;
use highball_telemetry::{EdgeEvent, Telemetry};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::fault::hits;
use tee::{Fed, tee};

/// How long a copy may go on after the original was answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the copies of a route go.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) options: Arc<CallOptions>,
    pub(crate) percent: f64,
    pub(crate) calls_max: usize,
    pub(crate) running: Arc<AtomicUsize>,
}

impl Mirror {
    /// Begins a copy of this request, as often as the percentage says and while there are not too many; then the request's
    /// body feeds both, and the [`Original`] says how long the copy may go on. `tasks` owns the copies.
    pub(crate) fn copy(
        &self,
        request: Request<Body>,
        random: u64,
        tasks: &Spawner,
        telemetry: &Telemetry,
        route: &str,
    ) -> (Request<Body>, Option<Original>) {
        if !hits(self.percent, random) {
            return (request, None);
        }
        let Some(seat) = Seat::take(&self.running, self.calls_max) else {
            telemetry.report_edge(&EdgeEvent::MirrorSkipped { route });
            return (request, None);
        };
        let (head, body) = request.into_parts();
        let (tee, copy, fed) = tee(body);
        let mut second = Request::new(Body::of(copy));
        *second.method_mut() = head.method.clone();
        *second.uri_mut() = head.uri.clone();
        second.headers_mut().clone_from(&head.headers);
        let (original, over) = oneshot::channel();
        let (channel, options) = (self.cluster.channel.clone(), self.options.clone());
        let (telemetry, route) = (telemetry.clone(), route.to_owned());
        tasks.spawn(async move {
            let _seat = seat;
            // Outside of the RPC that is copied: neither its deadline nor its end concern the copy, but what its headers say.
            let call = current::scope(None, async {
                let mut answer = channel.call_with(second, options).await.into_body();
                // Read to the end, so that the backend works as for the original. It ends with a status, whatever happens.
                while answer.frame().await.is_some() {}
            });
            let patience = async {
                // Without an answer there is nobody left who wanted it.
                if over.await.is_ok() {
                    tokio::time::sleep(PATIENCE).await;
                }
            };
            // A mirror that takes nothing asks for no more of the request, and would not see that it has broken off.
            let broken = async {
                match fed.await {
                    Ok(Fed::Whole) => std::future::pending().await,
                    Ok(Fed::TooSlow) => telemetry.report_edge(&EdgeEvent::MirrorGivenUp { route: &route }),
                    Err(_) => {}
                }
            };
            tokio::select! {
                () = call => {}
                () = patience => {}
                () = broken => {}
            }
        });
        (Request::from_parts(head, Body::of(tee)), Some(Original(Some(original))))
    }
}

/// Held while the original is under way. Dropped before it was answered, it ends the copy.
pub(crate) struct Original(Option<oneshot::Sender<()>>);

impl Original {
    /// Goes with the answer, to its end.
    pub(crate) fn follow(mut self, response: Response<Body>) -> Response<Body> {
        if response.body().is_end_stream() {
            self.answered();
            return response;
        }
        response.map(|body| Body::of(Followed { body, original: self }))
    }

    fn answered(&mut self) {
        // The copy may be over already.
        self.0.take().map(|original| original.send(()).ok());
    }
}

/// The answer to the original.
struct Followed {
    body: Body,
    original: Original,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_last = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || self.body.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        if is_last {
            self.original.answered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A place among the copies that run.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(running: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let fits = |now: usize| (now < max).then_some(now + 1);
        running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self(running.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http::HeaderMap;
    use http_body_util::StreamBody;

    #[tokio::test]
    async fn an_original_tells_whether_it_was_answered() {
        let original = || {
            let (sender, over) = oneshot::channel();
            (Original(Some(sender)), over)
        };
        let answer = || {
            let frames = [Ok(Frame::data(Bytes::from_static(b"1"))), Ok(Frame::trailers(HeaderMap::new()))];
            Response::new(Body::of(StreamBody::new(stream::iter(frames))))
        };
        let (dropped, over) = original();
        drop(dropped);
        assert!(over.await.is_err(), "before it was answered");
        let (failed, over) = original();
        failed.follow(Response::new(Body::empty()));
        assert_eq!(over.await, Ok(()), "without a message");
        let (begun, mut over) = original();
        let mut body = begun.follow(answer()).into_body();
        body.frame().await.unwrap().unwrap();
        assert!(over.try_recv().is_err(), "not at its end");
        body.frame().await.unwrap().unwrap();
        assert_eq!(over.await, Ok(()), "at its trailers");
        let (begun, over) = original();
        let mut body = begun.follow(answer()).into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        assert!(over.await.is_err(), "given up in the middle");
    }
}
