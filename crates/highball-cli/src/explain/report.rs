//! What was found out, and the answer to the question behind it.

use std::time::Duration;

use highball::Status;
use highball::channel::State;
use highball::channel::explain::Snapshot;
use highball::channel::service_config::MethodConfig;
use highball::core::Method;
use serde_json::{Value, json};

use super::method;
use crate::health::{Health, METHOD};

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) target: String,
    /// `None` when there is no channel.
    pub(super) snapshot: Option<Snapshot>,
    pub(super) calls: Calls,
    /// A method, and what applies to it if that is known.
    pub(super) method: Option<(Method, Option<MethodConfig>)>,
    pub(super) verdict: Verdict,
}

/// Would a call succeed?
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) succeeds: bool,
    /// Begins with `a call would`.
    pub(super) sentence: String,
}

/// How the calls ended.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) made: usize,
}

/// Calls that ended alike.
#[derive(Debug)]
pub(super) struct Outcome {
    /// `OK` or the code.
    pub(super) code: &'static str,
    /// The health, or the message.
    pub(super) says: String,
    pub(super) count: usize,
    pub(super) fastest: Duration,
    pub(super) slowest: Duration,
}

impl Calls {
    pub(super) fn note(&mut self, ended: Result<Health, Status>, took: Duration) {
        self.made += 1;
        let (code, says) = match &ended {
            Ok(serving) => ("OK", serving.name()),
            Err(status) => (status.code().name(), status.message()),
        };
        let known = self.outcomes.iter_mut().find(|known| known.code == code && known.says == says);
        match known {
            Some(known) => {
                known.count += 1;
                known.fastest = known.fastest.min(took);
                known.slowest = known.slowest.max(took);
            }
            None => self.outcomes.push(Outcome {
                code,
                says: says.to_owned(),
                count: 1,
                fastest: took,
                slowest: took,
            }),
        }
    }
}

impl Report {
    /// There is no channel, because of what it was to be made of.
    pub(super) fn without_channel(target: &str, sentence: String) -> Self {
        let sentence = format!("a call would not be made: {sentence}");
        Self {
            target: target.to_owned(),
            snapshot: None,
            calls: Calls::default(),
            method: None,
            verdict: Verdict { succeeds: false, sentence },
        }
    }

    pub(super) fn new(
        snapshot: Snapshot,
        calls: Calls,
        method: Option<(Method, Option<MethodConfig>)>,
        waited: Duration,
    ) -> Self {
        let config = method.as_ref().and_then(|(_, config)| config.as_ref());
        let waits = config.and_then(|config| config.wait_for_ready).unwrap_or(false);
        let verdict = verdict(&snapshot, &calls, waits, waited);
        Self { target: snapshot.target.clone(), snapshot: Some(snapshot), calls, method, verdict }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.state == State::Ready.name())
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let calls: Vec<Value> = self
            .calls
            .outcomes
            .iter()
            .map(|outcome| {
                json!({
                    "code": outcome.code,
                    "says": outcome.says,
                    "count": outcome.count,
                    "fastest_ms": millis(outcome.fastest),
                    "slowest_ms": millis(outcome.slowest),
                })
            })
            .collect();
        let report = json!({
            "target": self.target,
            "channel": self.snapshot,
            "calls": { "method": METHOD, "made": self.calls.made, "outcomes": calls },
            "method": self.method.as_ref().map(|(name, config)| method::json(name, config.as_ref())),
            "verdict": { "succeeds": self.verdict.succeeds, "sentence": self.verdict.sentence },
        });
        format!("{report:#}")
    }
}

fn verdict(snapshot: &Snapshot, calls: &Calls, waits: bool, waited: Duration) -> Verdict {
    let all = snapshot.endpoints.len();
    let ready = snapshot.endpoints.iter().filter(|endpoint| endpoint.state == State::Ready.name()).count();
    let why = || snapshot.trouble.as_deref().unwrap_or("nobody knows why");
    let (succeeds, sentence) = if snapshot.state == State::Ready.name() {
        let failed = calls.outcomes.iter().find(|outcome| outcome.code != "OK");
        let reach = format!("{ready} of {all} endpoints ready");
        match failed {
            // No health service: that the server said so shows that it answers.
            Some(failed) if failed.code == "UNIMPLEMENTED" => {
                (true, format!("a call would reach a server: {reach}; it has no health service"))
            }
            Some(failed) => {
                let (code, count, made) = (failed.code, failed.count, calls.made);
                (false, format!("a call would reach a server: {reach}; {count} of {made} calls ended {code}"))
            }
            None => (true, format!("a call would succeed: {reach}")),
        }
    } else if snapshot.state == State::TransientFailure.name() && waits {
        (false, format!("a call would wait until its deadline, DEADLINE_EXCEEDED: {}", why()))
    } else if snapshot.state == State::TransientFailure.name() {
        (false, format!("a call would fail, UNAVAILABLE: {}", why()))
    } else if all == 0 {
        (false, format!("a call would wait: the target is not resolved after {waited:?}"))
    } else {
        (false, format!("a call would wait: still connecting after {waited:?}"))
    };
    Verdict { succeeds, sentence }
}
