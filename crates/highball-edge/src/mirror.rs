//! A second copy of an RPC, that nobody waits for.
//!
//! What the caller sends is handed on to both as it comes. The copy never holds up the original: what the mirror's backend
//! does not take in time is not kept for it, and the copy is given up. It goes on for as long as its original, and a little
//! longer when that was answered; a caller that goes away takes it along.

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
use tokio::sync::{mpsc, oneshot};

use crate::cluster::Cluster;
use crate::fault::hits;

/// Bytes of one request that wait for the mirror; beyond it the copy is given up. What a channel keeps of a request for another
/// attempt, too.
const WAITING_SIZE_BYTES_MAX: usize = 256 << 10;

/// Frames of one request that wait for the mirror.
const WAITING_FRAMES_MAX: usize = 64;

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

enum Piece {
    Data(Bytes),
    End,
}

/// The body of the original, which hands every frame on.
struct Tee {
    body: Body,
    /// Gone once the copy is complete or given up.
    frames: Option<Frames>,
    waiting: Arc<AtomicUsize>,
}

/// Dropped before the end of the request, it ends the copy.
struct Frames {
    pieces: mpsc::Sender<Piece>,
    fed: oneshot::Sender<Fed>,
}

/// Why a copy gets no more.
#[derive(Debug, PartialEq, Eq)]
enum Fed {
    /// It has all of the request.
    Whole,
    /// Its bounds are reached.
    TooSlow,
}

/// The original's body, the copy's, and word of how the copy was fed; none where the original broke off.
fn tee(body: Body) -> (Tee, Copy, oneshot::Receiver<Fed>) {
    let (pieces, copied) = mpsc::channel(WAITING_FRAMES_MAX);
    let (fed, how) = oneshot::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let copy = Copy { frames: copied, waiting: waiting.clone(), over: false };
    let mut tee = Tee { body, frames: Some(Frames { pieces, fed }), waiting };
    // Nobody asks a body that is empty.
    if tee.body.is_end_stream() {
        tee.hand_on(None);
    }
    (tee, copy, how)
}

impl Tee {
    fn hand_on(&mut self, frame: Option<&Frame<Bytes>>) {
        let Some(frames) = self.frames.take() else { return };
        let Some(frame) = frame else {
            let fed = if frames.pieces.try_send(Piece::End).is_ok() { Fed::Whole } else { Fed::TooSlow };
            return frames.say(fed);
        };
        // Requests of gRPC have no trailers.
        let handed = frame.data_ref().is_none_or(|data| {
            let waiting = self.waiting.fetch_add(data.len(), Ordering::Relaxed) + data.len();
            waiting <= WAITING_SIZE_BYTES_MAX && frames.pieces.try_send(Piece::Data(data.clone())).is_ok()
        });
        match handed {
            true => self.frames = Some(frames),
            false => frames.say(Fed::TooSlow),
        }
    }
}

impl Frames {
    fn say(self, fed: Fed) {
        // The copy may be over already.
        self.fed.send(fed).ok();
    }
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.hand_on(Some(frame)),
            // Broken off: so is the copy.
            Some(Err(_)) => self.frames = None,
            None => self.hand_on(None),
        }
        // Who sees the end coming may not ask again.
        if self.body.is_end_stream() {
            self.hand_on(None);
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

/// The body of the copy.
struct Copy {
    frames: mpsc::Receiver<Piece>,
    waiting: Arc<AtomicUsize>,
    over: bool,
}

impl http_body::Body for Copy {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.frames.poll_recv(cx));
        Poll::Ready(match piece {
            Some(Piece::Data(data)) => {
                self.waiting.fetch_sub(data.len(), Ordering::Relaxed);
                Some(Ok(Frame::data(data)))
            }
            Some(Piece::End) => {
                self.over = true;
                None
            }
            None => {
                self.over = true;
                Some(Err(BodyError::new("the original broke off, or the mirror was too slow")))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http::HeaderMap;
    use http_body_util::StreamBody;

    /// An original of so many frames, and its copy.
    fn pair(frames: usize, size: usize) -> (Tee, Copy, oneshot::Receiver<Fed>) {
        let frame = move |_| Ok(Frame::data(Bytes::from(vec![0; size])));
        let body = Body::of(StreamBody::new(stream::iter((0..frames).map(frame))));
        tee(body)
    }

    /// How much could be read, and whether it ended well.
    async fn read(mut body: impl http_body::Body<Data = Bytes, Error = BodyError> + Unpin) -> (usize, bool) {
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => size += frame.data_ref().map_or(0, Bytes::len),
                Err(_) => return (size, false),
            }
        }
        (size, true)
    }

    #[tokio::test]
    async fn a_copy_that_keeps_up_is_whole() {
        let (tee, copy, fed) = pair(1000, 10_000);
        assert_eq!(tokio::join!(read(tee), read(copy)), ((10_000_000, true), (10_000_000, true)));
        assert_eq!(fed.await, Ok(Fed::Whole));
    }

    #[tokio::test]
    async fn a_copy_that_nobody_reads_holds_no_more_than_its_bounds() {
        for (frames, size) in [(10_000, 10_000), (100_000, 10)] {
            let (tee, copy, fed) = pair(frames, size);
            assert_eq!(read(tee).await, (frames * size, true), "the original is whole");
            assert_eq!(fed.await, Ok(Fed::TooSlow), "the copy is given up");
            let (held, whole) = read(copy).await;
            assert!(!whole && held <= WAITING_SIZE_BYTES_MAX && held <= WAITING_FRAMES_MAX * size, "{held}");
        }
    }

    #[tokio::test]
    async fn a_copy_of_what_broke_off_breaks_off() {
        let (mut tee, copy, fed) = pair(3, 10);
        tee.frame().await.unwrap().unwrap();
        drop(tee);
        assert!(fed.await.is_err());
        assert_eq!(read(copy).await, (10, false));
    }

    #[tokio::test]
    async fn a_copy_of_an_empty_request_is_whole() {
        let (tee, copy, fed) = tee(Body::empty());
        drop(tee);
        assert_eq!((fed.await, read(copy).await), (Ok(Fed::Whole), (0, true)));
    }

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
