//! One request, for two who read it at their own pace.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use highball_core::{Body, BodyError};
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};

/// Bytes of one request that wait for the mirror, [`FRAME_COST_BYTES`] for each frame among them; beyond it the copy is given
/// up. As much as a channel keeps of a request for another attempt, and counted in the same way.
const WAITING_SIZE_BYTES_MAX: usize = 256 << 10;

/// What a frame costs beside its content.
const FRAME_COST_BYTES: usize = 64;

/// Frames of one request that wait for the mirror, and its end.
const WAITING_FRAMES_MAX: usize = WAITING_SIZE_BYTES_MAX / FRAME_COST_BYTES + 1;

enum Piece {
    Data(Bytes),
    End,
}

/// The body of the original, which hands every frame on.
pub(super) struct Tee {
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
pub(super) enum Fed {
    /// It has all of the request.
    Whole,
    /// Its bounds are reached.
    TooSlow,
}

/// The original's body, the copy's, and word of how the copy was fed; none where the original broke off.
pub(super) fn tee(body: Body) -> (Tee, Copy, oneshot::Receiver<Fed>) {
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
            let size = data.len() + FRAME_COST_BYTES;
            let waiting = self.waiting.fetch_add(size, Ordering::Relaxed) + size;
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
pub(super) struct Copy {
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
                self.waiting.fetch_sub(data.len() + FRAME_COST_BYTES, Ordering::Relaxed);
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
    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    /// An original of so many frames, and its copy.
    fn pair(frames: usize, size: usize) -> (Tee, Copy, oneshot::Receiver<Fed>) {
        let frame = move |_| Ok(Frame::data(Bytes::from(vec![0; size])));
        // As from a connection: others run between two frames.
        let frames = stream::iter(0..frames).then(move |nth| async move {
            tokio::task::yield_now().await;
            frame(nth)
        });
        let body = Body::of(StreamBody::new(frames));
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
            assert!(
                !whole && held <= WAITING_SIZE_BYTES_MAX && held <= WAITING_FRAMES_MAX * size && held > 0,
                "{held}"
            );
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
}
