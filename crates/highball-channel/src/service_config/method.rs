//! `methodConfig`: what is asked of the calls of a method.

use std::fmt;
use std::time::Duration;

use highball_core::Code;
use highball_core::backoff::{jittered, scaled};
use serde_json::Value;

use super::json::{Object, Read, ServiceConfigError};
use super::json::{boolean, duration, each, number, object, optional, required, some_time, whole, whole_u32};

/// Attempts a call gets at most, whatever a policy says; a larger `maxAttempts` counts as this (gRFC A6).
///
/// A service config may come from DNS, and must not be able to multiply load at will.
pub const ATTEMPTS_MAX: u32 = 5;

/// What a service's owner asks of the calls of a method. The default asks for nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MethodConfig {
    /// `waitForReady`; what the application says goes first.
    pub wait_for_ready: Option<bool>,
    /// `timeout`; the smaller of this and the application's applies.
    pub timeout: Option<Duration>,
    /// `maxRequestMessageBytes`; the smaller of this and the application's applies. 0 allows empty messages only.
    pub request_size_bytes_max: Option<usize>,
    /// `maxResponseMessageBytes`; the smaller of this and the application's applies. 0 allows empty messages only.
    pub response_size_bytes_max: Option<usize>,
    /// Whether a call may be sent more than once.
    pub repeat: Repeat,
}

/// Whether and how a call is sent more than once (gRFC A6).
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Repeat {
    /// Only transparently, when the server never saw it.
    #[default]
    Never,
    /// Again after a failure.
    Retry(RetryPolicy),
    /// Again before the answer is there.
    Hedge(HedgingPolicy),
}

/// `retryPolicy`.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// `maxAttempts` with the first: 2 to [`ATTEMPTS_MAX`].
    pub max_attempts: u32,
    /// `initialBackoff`, more than zero.
    pub initial_backoff: Duration,
    /// `maxBackoff`, more than zero.
    pub max_backoff: Duration,
    /// `backoffMultiplier`, more than zero.
    pub backoff_multiplier: f64,
    /// `retryableStatusCodes`; empty only with a [`per_attempt_timeout`](Self::per_attempt_timeout).
    pub retryable_codes: Codes,
    /// `perAttemptRecvTimeout`, how long one attempt may take to answer; then it counts as failed with a retryable code.
    /// Default none. gRFC A6 does not have it; C-core and grpc-java read it under this name.
    pub per_attempt_timeout: Option<Duration>,
}

impl RetryPolicy {
    /// How long to wait before the `nth` retry, counted from 1: min(initial x multiplier^(nth - 1), max), give or take a
    /// fifth (gRFC A6).
    #[must_use]
    pub fn delay(&self, nth: u32, random: u64) -> Duration {
        let exponent = i32::try_from(nth.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = scaled(self.initial_backoff, self.backoff_multiplier.powi(exponent));
        jittered(delay.min(self.max_backoff), 0.2, random)
    }
}

/// `hedgingPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HedgingPolicy {
    /// `maxAttempts` with the first: 2 to [`ATTEMPTS_MAX`].
    pub max_attempts: u32,
    /// `hedgingDelay` between attempts. Default zero: all at once.
    pub delay: Duration,
    /// `nonFatalStatusCodes`: after one of these the next attempt is sent at once; after any other the call is over.
    pub non_fatal_codes: Codes,
    /// `perAttemptRecvTimeout`, as in [`RetryPolicy::per_attempt_timeout`]; such a failure is not fatal.
    pub per_attempt_timeout: Option<Duration>,
}

/// A set of status codes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Codes(u32);

impl Codes {
    /// Whether it has the code.
    #[must_use]
    pub fn contains(self, code: Code) -> bool {
        self.0 & (1 << code as u32) != 0
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its codes, in numeric order.
    pub fn iter(self) -> impl Iterator<Item = Code> {
        Code::ALL.into_iter().filter(move |code| self.contains(*code))
    }
}

impl FromIterator<Code> for Codes {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        Self(codes.into_iter().fold(0, |bits, code| bits | 1 << code as u32))
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Code::name)).finish()
    }
}

/// Reads an entry of `methodConfig`, without its names.
pub(super) fn method_config(entry: &Object) -> Read<MethodConfig> {
    let retry = optional(entry, "retryPolicy", retry_policy)?;
    let hedge = optional(entry, "hedgingPolicy", hedging_policy)?;
    let repeat = match (retry, hedge) {
        (None, None) => Repeat::Never,
        (Some(retry), None) => Repeat::Retry(retry),
        (None, Some(hedge)) => Repeat::Hedge(hedge),
        (Some(_), Some(_)) => {
            return Err(ServiceConfigError::new(
                "has both a retryPolicy and a hedgingPolicy; keep one of them",
            ));
        }
    };
    Ok(MethodConfig {
        wait_for_ready: optional(entry, "waitForReady", boolean)?,
        timeout: optional(entry, "timeout", duration)?,
        request_size_bytes_max: optional(entry, "maxRequestMessageBytes", size)?,
        response_size_bytes_max: optional(entry, "maxResponseMessageBytes", size)?,
        repeat,
    })
}

fn retry_policy(value: &Value) -> Read<RetryPolicy> {
    let policy = object(value)?;
    let per_attempt_timeout = optional(policy, "perAttemptRecvTimeout", some_time)?;
    let retryable_codes = required(policy, "retryableStatusCodes", codes)?;
    if retryable_codes.is_empty() && per_attempt_timeout.is_none() {
        return Err(ServiceConfigError::new("must name at least one code").in_field("retryableStatusCodes"));
    }
    Ok(RetryPolicy {
        max_attempts: required(policy, "maxAttempts", attempts)?,
        initial_backoff: required(policy, "initialBackoff", some_time)?,
        max_backoff: required(policy, "maxBackoff", some_time)?,
        backoff_multiplier: required(policy, "backoffMultiplier", multiplier)?,
        retryable_codes,
        per_attempt_timeout,
    })
}

fn hedging_policy(value: &Value) -> Read<HedgingPolicy> {
    let policy = object(value)?;
    Ok(HedgingPolicy {
        max_attempts: required(policy, "maxAttempts", attempts)?,
        delay: optional(policy, "hedgingDelay", duration)?.unwrap_or_default(),
        non_fatal_codes: optional(policy, "nonFatalStatusCodes", codes)?.unwrap_or_default(),
        per_attempt_timeout: optional(policy, "perAttemptRecvTimeout", some_time)?,
    })
}

fn attempts(value: &Value) -> Read<u32> {
    match whole_u32(value)? {
        // One attempt is no policy, and whoever wrote it meant something else.
        0 | 1 => Err(ServiceConfigError::new("must be at least 2: the first attempt counts")),
        attempts => Ok(attempts.min(ATTEMPTS_MAX)),
    }
}

fn multiplier(value: &Value) -> Read<f64> {
    let multiplier = number(value)?;
    if multiplier > 0.0 { Ok(multiplier) } else { Err(ServiceConfigError::new("must be more than 0")) }
}

fn size(value: &Value) -> Read<usize> {
    whole(value).map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

fn codes(value: &Value) -> Read<Codes> {
    each(value, code).map(Codes::from_iter)
}

/// A code by number or by name in any case.
fn code(value: &Value) -> Read<Code> {
    let found = match value.as_str() {
        Some(name) => Code::ALL.into_iter().find(|code| code.name().eq_ignore_ascii_case(name)),
        None => {
            whole(value).ok().and_then(|number| Code::ALL.into_iter().find(|code| *code as u64 == number))
        }
    };
    match found {
        Some(Code::Ok) => Err(ServiceConfigError::new("OK is not a failure")),
        Some(code) => Ok(code),
        None => {
            let problem =
                format!("{value} is not a status code: write a name such as \"UNAVAILABLE\", or 1 to 16");
            Err(ServiceConfigError::new(problem))
        }
    }
}
