//! One attempt after the other (gRFC A6).

use std::time::Duration;

use highball_core::status::PUSHBACK;
use highball_core::{Code, Status};
use http::HeaderMap;

use crate::attempt::{self, Committed, Failed, Fate};
use crate::call::Call;
use crate::record::Record;
use crate::replay::Replay;
use crate::service_config::RetryPolicy;

/// Attempts that never left this process, at most: each needs a connection that broke between the pick and the first byte.
const UNSENT_MAX: u32 = 100;

/// Makes attempts until one commits the call, the policy is exhausted, or there is nothing to repeat.
pub(crate) async fn run(
    call: &Call,
    policy: Option<&RetryPolicy>,
    replay: &Replay,
    record: &mut Record,
) -> Result<Committed, Failed> {
    let timeout = policy.and_then(|policy| policy.per_attempt_timeout);
    let mut progress = Progress::default();
    loop {
        let Some(cursor) = replay.attempt() else {
            // Not reached: an attempt follows only after `can_repeat`.
            return Err(Failed::new(Status::new(Code::Internal, "nothing to repeat"), Fate::Unsent));
        };
        let id = cursor.id();
        record.attempt();
        let failed = match attempt::run(call, replay, cursor, progress.counted, timeout).await {
            Ok(committed) => {
                replay.commit(id);
                return Ok(committed);
            }
            Err(failed) => failed,
        };
        match progress.next(call, policy, &failed) {
            Some(wait) if replay.can_repeat() && replay.fault().is_none() => {
                record.retry(&failed.status, failed.fate, wait);
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
            }
            _ => return Err(failed),
        }
    }
}

/// How far a call has come with its attempts.
#[derive(Debug, Default)]
struct Progress {
    /// Attempts that count.
    counted: u32,
    /// Retries since the series of delays began.
    series: u32,
    unsent: u32,
    refused: bool,
}

impl Progress {
    /// How long to wait before the next attempt; `None` when there is none.
    fn next(&mut self, call: &Call, policy: Option<&RetryPolicy>, failed: &Failed) -> Option<Duration> {
        match failed.fate {
            Fate::Dropped => return None,
            // Transparent retries cost the server nothing, and are not counted.
            Fate::NeverLeft if self.unsent < UNSENT_MAX => {
                self.unsent += 1;
                return Some(Duration::ZERO);
            }
            Fate::Refused if !self.refused => {
                self.refused = true;
                return Some(Duration::ZERO);
            }
            Fate::Unsent | Fate::NeverLeft | Fate::Refused | Fate::Seen | Fate::TooSlow => {}
        }
        self.counted += 1;
        let policy = policy?;
        let pushback =
            failed.response.as_ref().map_or(Pushback::None, |response| Pushback::read(response.headers()));
        let retryable = failed.fate == Fate::TooSlow || policy.retryable_codes.contains(failed.status.code());
        // Other failures say nothing about overload.
        if retryable || pushback == Pushback::Never {
            let allowed = call.throttle.as_ref().is_none_or(|throttle| throttle.failed());
            if !allowed {
                return None;
            }
        }
        if !retryable || self.counted >= policy.max_attempts {
            return None;
        }
        match pushback {
            Pushback::Never => None,
            Pushback::After(wait) => {
                self.series = 0;
                Some(wait)
            }
            Pushback::None => {
                self.series += 1;
                Some(policy.delay(self.series, call.random()))
            }
        }
    }
}

/// What a server says about trying again: `grpc-retry-pushback-ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushback {
    /// Nothing.
    None,
    /// Not before this.
    After(Duration),
    /// Not at all: a negative number, or anything else that is none.
    Never,
}

impl Pushback {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(PUSHBACK) else { return Self::None };
        let millis = value.to_str().ok().and_then(|text| text.parse::<i32>().ok());
        match millis.map(u64::try_from) {
            Some(Ok(millis)) => Self::After(Duration::from_millis(millis)),
            _ => Self::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_pushback_that_is_no_number_of_milliseconds_forbids_a_retry() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PUSHBACK, HeaderValue::from_static(value));
            Pushback::read(&headers)
        };
        assert_eq!(Pushback::read(&HeaderMap::new()), Pushback::None);
        assert_eq!(read("0"), Pushback::After(Duration::ZERO));
        assert_eq!(read("1500"), Pushback::After(Duration::from_millis(1500)));
        for value in ["-1", "", "soon", "1.5", "2147483648"] {
            assert_eq!(read(value), Pushback::Never, "{value}");
        }
    }
}
