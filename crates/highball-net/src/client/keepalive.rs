//! Asking a silent peer for a sign of life (gRFC A8).

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::settings::{KEEPALIVE_TIME_MIN, Settings};
use super::shared::Shared;

/// The peer gave no sign of life.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dead;

pub(super) struct Keepalive {
    time: Duration,
    timeout: Duration,
    without_calls: bool,
    pings: PingPong,
    state: State,
    timer: Pin<Box<Sleep>>,
}

enum State {
    /// Until the silence is long enough.
    Listening,
    /// It was long enough while no stream was open: the next one asks.
    Dozing,
    /// Asked, when so many reads had brought something.
    Asked(u64),
}

impl Keepalive {
    /// `None` when it is not wanted.
    pub(super) fn new(settings: &Settings, pings: PingPong) -> Option<Self> {
        let time = settings.keepalive_time?.max(KEEPALIVE_TIME_MIN);
        Some(Self {
            time,
            timeout: settings.keepalive_timeout,
            without_calls: settings.keepalive_without_calls,
            pings,
            state: State::Listening,
            timer: Box::pin(sleep_until(Instant::now() + time)),
        })
    }

    /// Before h2 writes anything: a stream that begins after a long silence has its PING written first.
    pub(super) fn before(&mut self, cx: &mut Context<'_>, shared: &Shared) {
        if shared.take_roused() && matches!(self.state, State::Dozing) {
            self.ask(cx, shared);
        }
    }

    /// After h2 has read what there is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<Dead> {
        loop {
            let last_read = shared.wire.last_read();
            match self.state {
                State::Asked(reads) if shared.wire.reads() > reads => self.listen(shared, last_read),
                State::Dozing if last_read + self.time > Instant::now() => self.listen(shared, last_read),
                State::Dozing => return Poll::Pending,
                State::Asked(_) => return self.timer.as_mut().poll(cx).map(|()| Dead),
                State::Listening => {
                    if self.timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    if last_read + self.time > Instant::now() {
                        self.listen(shared, last_read);
                    } else if self.without_calls || shared.places.in_flight() > 0 {
                        self.ask(cx, shared);
                    } else {
                        self.doze(cx, shared);
                    }
                }
            }
        }
    }

    fn listen(&mut self, shared: &Shared, last_read: Instant) {
        self.state = State::Listening;
        shared.set_dozing(false);
        self.timer.as_mut().reset(last_read + self.time);
    }

    fn doze(&mut self, cx: &mut Context<'_>, shared: &Shared) {
        self.state = State::Dozing;
        shared.set_dozing(true);
        // A stream that began before it could see that.
        if shared.places.in_flight() > 0 {
            self.ask(cx, shared);
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>, shared: &Shared) {
        self.state = State::Asked(shared.wire.reads());
        shared.set_dozing(false);
        self.timer.as_mut().reset(Instant::now() + self.timeout);
        // The answer to the last one, which was a sign of life long ago.
        let _answered = self.pings.poll_pong(cx);
        // One that was never answered still stands; a connection that has ended will say so itself.
        self.pings.send_ping(Ping::opaque()).ok();
    }
}
