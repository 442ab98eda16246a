//! Request bodies that can be sent again.
//!
//! A call reads its request through cursors, one for each attempt. Until the call is committed every frame is kept, in
//! bounds, so that a later attempt starts from the first one (gRFC A6, "Where Retries Occur" and "Buffered RPCs").

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use highball_core::{Body, BodyError, Code, Envelopes, Status};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

/// Bytes that all calls of a channel may keep together.
#[derive(Debug)]
pub(crate) struct Budget {
    kept: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { kept: AtomicUsize::new(0), bytes_max })
    }

    /// Bytes kept at present.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |kept: usize| kept.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The request body of one call.
#[derive(Debug, Clone)]
pub(crate) struct Replay(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    budget: Arc<Budget>,
    call_bytes_max: usize,
}

struct State {
    source: Option<Body>,
    /// The source had nothing when it was asked last.
    starved: bool,
    /// Why the source broke; every cursor that gets there hears of it.
    broken: Option<Status>,
    envelopes: Envelopes,
    frames: VecDeque<Kept>,
    /// Number of the first frame in `frames`.
    first: usize,
    /// Bytes in `frames`, all taken from the budget.
    bytes: usize,
    /// The one attempt that may go on: committed, or the first that ran out of buffer.
    only: Option<usize>,
    cursors: usize,
    waiting: Vec<(usize, Waker)>,
}

/// What a frame costs beside its bytes, roughly.
const FRAME_COST_BYTES: usize = 64;

#[derive(Clone)]
enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Kept {
    /// What keeping it costs: a request of tiny frames is as large as its bookkeeping.
    fn bytes(&self) -> usize {
        FRAME_COST_BYTES
            + match self {
                Self::Data(data) => data.len(),
                // Requests of gRPC have none.
                Self::Trailers(trailers) => {
                    trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
                }
            }
    }

    fn frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl Replay {
    /// Keeps up to `call_bytes_max` of `source`, and no more than `budget` has left. No message may be larger than
    /// `message_size_bytes_max`.
    pub(crate) fn new(
        source: Body,
        message_size_bytes_max: usize,
        call_bytes_max: usize,
        budget: Arc<Budget>,
    ) -> Self {
        let state = State {
            source: Some(source),
            starved: false,
            broken: None,
            envelopes: Envelopes::new(message_size_bytes_max),
            frames: VecDeque::new(),
            first: 0,
            bytes: 0,
            only: None,
            cursors: 0,
            waiting: Vec::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), budget, call_bytes_max }))
    }

    /// The body of another attempt, from the first frame on; `None` once the call is committed to an earlier one.
    pub(crate) fn attempt(&self) -> Option<Cursor> {
        let mut state = self.0.lock();
        if state.only.is_some() {
            return None;
        }
        let id = state.cursors;
        state.cursors += 1;
        Some(Cursor { id, next: 0, shared: self.0.clone() })
    }

    /// Whether another attempt could start.
    pub(crate) fn can_repeat(&self) -> bool {
        self.0.lock().only.is_none()
    }

    /// Whether the call goes on with another attempt than this one.
    pub(crate) fn is_superseded(&self, attempt: usize) -> bool {
        self.0.lock().only.is_some_and(|only| only != attempt)
    }

    /// Whether an attempt waits for more of the request: a server cannot be blamed for waiting, too.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.0.lock().starved
    }

    /// What is wrong with the request itself, found while it was read: what an attempt says then is beside the point.
    pub(crate) fn fault(&self) -> Option<Status> {
        self.0.lock().broken.clone()
    }

    /// No other attempt will come: what this one has read is forgotten, and nothing is kept from now on.
    pub(crate) fn commit(&self, attempt: usize) {
        let mut state = self.0.lock();
        state.only.get_or_insert(attempt);
        state.wake_others(attempt);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it but the application's own body, and then the call is over.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let bytes = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).bytes;
        self.budget.give_back(bytes);
    }
}

impl State {
    fn wake_others(&mut self, cursor: usize) {
        for (_, waker) in self.waiting.extract_if(.., |(id, _)| *id != cursor) {
            waker.wake();
        }
    }

    fn wait(&mut self, cursor: usize, waker: &Waker) {
        match self.waiting.iter_mut().find(|(id, _)| *id == cursor) {
            Some((_, known)) => known.clone_from(waker),
            None => self.waiting.push((cursor, waker.clone())),
        }
    }

    /// Forgets frames before `next`.
    fn forget(&mut self, next: usize, budget: &Budget) {
        while self.first < next {
            let Some(kept) = self.frames.pop_front() else { break };
            self.bytes -= kept.bytes();
            budget.give_back(kept.bytes());
            self.first += 1;
        }
    }
}

/// The request body of one attempt.
pub(crate) struct Cursor {
    id: usize,
    /// Number of the next frame.
    next: usize,
    shared: Arc<Shared>,
}

impl Cursor {
    /// For [`Replay::commit`].
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    fn take(&mut self, state: &mut State) -> Option<Frame<Bytes>> {
        let kept = state.frames.get(self.next.checked_sub(state.first)?)?.clone();
        self.next += 1;
        if state.only == Some(self.id) {
            state.forget(self.next, &self.shared.budget);
        }
        Some(kept.frame())
    }

    /// Reads a frame nobody has read yet.
    fn read(&mut self, state: &mut State, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let Some(source) = &mut state.source else { return Poll::Ready(None) };
        let read = Pin::new(source).poll_frame(cx);
        state.starved = read.is_pending();
        let Poll::Ready(read) = read else {
            // The source keeps one waker only; whoever is woken wakes the rest.
            state.wait(self.id, cx.waker());
            return Poll::Pending;
        };
        state.wake_others(self.id);
        let kept = match read {
            None => {
                state.source = None;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                state.source = None;
                let sentence = format!("the request ended early: {error}");
                state.broken = Some(Status::new(Code::Cancelled, sentence));
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if let Err(oversized) = state.envelopes.walk(&data) {
                        state.source = None;
                        let sentence = format!("the request has {oversized} (request_size_bytes_max)");
                        state.broken = Some(Status::new(Code::ResourceExhausted, sentence));
                        return Poll::Ready(None);
                    }
                    Kept::Data(data)
                }
                Err(frame) => Kept::Trailers(frame.into_trailers().unwrap_or_default()),
            },
        };
        let fits = state.bytes + kept.bytes() <= self.shared.call_bytes_max;
        if state.only.is_none() && fits && self.shared.budget.take(kept.bytes()) {
            state.bytes += kept.bytes();
            state.frames.push_back(kept.clone());
        } else {
            // Too much to keep: this attempt, the furthest along, is the one.
            state.only = Some(self.id);
            state.forget(self.next, &self.shared.budget);
            state.first = self.next + 1;
        }
        self.next += 1;
        Poll::Ready(Some(kept.frame()))
    }
}

impl http_body::Body for Cursor {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let shared = this.shared.clone();
        let mut state = shared.lock();
        if state.only.is_some_and(|only| only != this.id) {
            return Poll::Ready(Some(Err(BodyError::new(RequestError::Superseded))));
        }
        if let Some(frame) = this.take(&mut state) {
            return Poll::Ready(Some(Ok(frame)));
        }
        match this.read(&mut state, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => {
                Poll::Ready(state.broken.clone().map(|why| Err(BodyError::new(RequestError::Broken(why)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.lock();
        let read = self.next >= state.first + state.frames.len();
        read && state.broken.is_none() && state.source.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.lock();
        let skip = self.next.saturating_sub(state.first);
        let kept: usize = state.frames.iter().skip(skip).map(Kept::bytes).sum();
        let rest = state.source.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept as u64));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept as u64));
        }
        hint
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.waiting.retain(|(id, _)| *id != self.id);
        // The source may know only the waker of this one.
        state.wake_others(self.id);
        let mut rest = None;
        if state.only == Some(self.id) {
            let end = state.first + state.frames.len();
            state.forget(end, &self.shared.budget);
            // Nobody reads the rest: whoever writes it must hear of that, although the response may be held for long.
            rest = state.source.take();
        }
        // Without the lock: it is the application's.
        drop(state);
        drop(rest);
    }
}

/// Why an attempt cannot read its request to the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// The application's body failed, or is too large.
    #[error("{0}")]
    Broken(Status),
    /// The call goes on with another attempt.
    #[error("another attempt was chosen")]
    Superseded,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Replay")
            .field("bytes", &state.bytes)
            .field("only", &state.only)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("id", &self.id).field("next", &self.next).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
