//! Several attempts at once, of which the first to succeed wins (gRFC A6, "Hedging Policy").

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use crate::attempt::{self, Committed, Failed, Fate};
use crate::call::Call;
use crate::record::Record;
use crate::replay::Replay;
use crate::retry::Pushback;
use crate::service_config::HedgingPolicy;

/// Attempts of one call that no server saw, at most; more count as attempts.
const UNSEEN_MAX: u32 = 10;

type Attempt<'a> = BoxFuture<'a, (usize, Result<Committed, Failed>)>;

/// Makes attempts, each `delay` after the one before, until one commits the call or fails fatally.
pub(crate) async fn run(
    call: &Call,
    policy: &HedgingPolicy,
    replay: &Replay,
    record: &mut Record,
) -> Result<Committed, Failed> {
    let mut running: FuturesUnordered<Attempt<'_>> = FuturesUnordered::new();
    let (mut made, mut unseen) = (0, 0);
    // What the call ends with when no other attempt may be made.
    let mut lost = None;
    // When the next attempt is due; `None` when there is none.
    let mut next = Some(Instant::now());
    loop {
        let due = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some((id, outcome)) = running.next() => match outcome {
                // It has lost the request to an attempt that goes on: what became of it says nothing.
                _ if replay.is_superseded(id) => {}
                Ok(committed) => {
                    // The others are reset as they are dropped.
                    replay.commit(id);
                    return Ok(committed);
                }
                // The server never saw it, so it was none (gRFC A6, "Transparent Retries").
                Err(failed) if failed.is_unseen() && unseen < UNSEEN_MAX && replay.can_repeat() => {
                    unseen += 1;
                    made -= 1;
                    next = Some(Instant::now());
                    lost = Some(failed);
                }
                // The only one that had all of the request.
                Err(failed) if !replay.can_repeat() => return Err(failed),
                Err(failed) => {
                    let go_on = outlook(call, policy, &failed);
                    next = match go_on {
                        Outlook::Over => return Err(failed),
                        Outlook::NoMore => None,
                        // A failure that is not fatal sends the next attempt at once.
                        Outlook::Next(after) => next.map(|_| Instant::now() + after),
                    };
                    if running.is_empty() && next.is_none() {
                        return Err(failed);
                    }
                    lost = Some(failed);
                }
            },
            () = due => {
                let more = call.throttle.as_ref().is_none_or(|throttle| made == 0 || throttle.allows());
                let cursor = if more { replay.attempt() } else { None };
                if let Some(cursor) = cursor {
                    record.attempt();
                    if made > 0 {
                        record.hedge(policy.delay);
                    }
                    running.push(start(call, policy, replay, cursor, made));
                    made += 1;
                }
                if let Some(failed) = lost.take_if(|_| running.is_empty()) {
                    return Err(failed);
                }
                let last = !more || made >= policy.max_attempts || !replay.can_repeat();
                next = (!last).then(|| Instant::now() + policy.delay);
            }
        }
    }
}

fn start<'a>(
    call: &'a Call,
    policy: &'a HedgingPolicy,
    replay: &'a Replay,
    cursor: crate::replay::Cursor,
    made: u32,
) -> Attempt<'a> {
    Box::pin(async move {
        let id = cursor.id();
        (id, attempt::run(call, replay, cursor, made, policy.per_attempt_timeout).await)
    })
}

/// What a failure means for the attempts to come.
enum Outlook {
    /// The call is over.
    Over,
    /// What runs may finish, nothing is added.
    NoMore,
    /// The next attempt may start after so long.
    Next(Duration),
}

fn outlook(call: &Call, policy: &HedgingPolicy, failed: &Failed) -> Outlook {
    let pushback =
        failed.response.as_ref().map_or(Pushback::None, |response| Pushback::read(response.headers()));
    let harmless = match failed.fate {
        // There is nowhere to send another; those that run are none the worse for it.
        Fate::Unsent | Fate::Dropped => return Outlook::NoMore,
        Fate::NeverLeft | Fate::Refused | Fate::TooSlow => true,
        Fate::Seen => policy.non_fatal_codes.contains(failed.status.code()),
    };
    if harmless || pushback == Pushback::Never {
        let allowed = call.throttle.as_ref().is_none_or(|throttle| throttle.failed());
        if !allowed {
            return if harmless { Outlook::NoMore } else { Outlook::Over };
        }
    }
    match (harmless, pushback) {
        (false, _) => Outlook::Over,
        (true, Pushback::Never) => Outlook::NoMore,
        (true, Pushback::After(wait)) => Outlook::Next(wait),
        (true, Pushback::None) => Outlook::Next(Duration::ZERO),
    }
}
