//! Limits of single methods, resolved once at start.

use std::time::Duration;

use highball_core::{Deadline, DeadlineOrigin, MethodKind};
use tokio::time::Instant;

use crate::Settings;
use crate::admit::Priority;
use crate::limit::Bounds;

/// What is different for some methods; `None` stays as it is for the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MethodSettings {
    /// Which: `package.Service/Method` or `package.Service/*`. The exact name wins over the service. A name that the
    /// descriptors do not list stops the start, because it is misspelled.
    pub methods: String,
    /// Deadline when the caller set none; for streams too, which have none otherwise.
    pub deadline_default: Option<Duration>,
    /// Longest deadline a caller may ask for; for streams too, which have none otherwise.
    pub deadline_cap: Option<Duration>,
    /// Silence in both directions after which a stream is ended UNAVAILABLE. Zero is never.
    pub stream_idle: Option<Duration>,
    /// Largest message, each way.
    pub message_size_bytes_max: Option<usize>,
    /// Who goes first when the server is full. Default [`Priority::Normal`].
    pub priority: Option<Priority>,
}

/// The limits of one method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MethodLimits {
    deadline_default: Option<Duration>,
    deadline_cap: Option<Duration>,
    /// `None` for unary methods, which a deadline ends.
    pub(crate) stream_idle: Option<Duration>,
    pub(crate) message_size_bytes_max: usize,
    decompression_ratio_max: u32,
    pub(crate) priority: Priority,
}

impl MethodLimits {
    /// The limits of a method called `name`, without a leading slash. `builtin` streams, such as health's Watch, are quiet
    /// by nature.
    pub(crate) fn resolve(settings: &Settings, name: &str, kind: MethodKind, builtin: bool) -> Self {
        let unary = kind == MethodKind::Unary;
        let idle = (!unary && !builtin).then_some(settings.stream_idle);
        let mut limits = Self {
            deadline_default: unary.then_some(settings.deadline_default),
            deadline_cap: unary.then_some(settings.deadline_cap),
            stream_idle: idle,
            message_size_bytes_max: settings.message_size_bytes_max,
            decompression_ratio_max: settings.decompression_ratio_max,
            priority: Priority::default(),
        };
        if let Some(own) = find(&settings.methods, name) {
            limits.deadline_default = own.deadline_default.or(limits.deadline_default);
            limits.deadline_cap = own.deadline_cap.or(limits.deadline_cap);
            limits.stream_idle = own.stream_idle.filter(|_| !unary).or(limits.stream_idle);
            limits.message_size_bytes_max =
                own.message_size_bytes_max.unwrap_or(limits.message_size_bytes_max);
            limits.priority = own.priority.unwrap_or(limits.priority);
        }
        limits.stream_idle = limits.stream_idle.filter(|idle| !idle.is_zero());
        limits
    }

    /// How far a compressed message may grow.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { size_bytes_max: self.message_size_bytes_max, ratio_max: self.decompression_ratio_max }
    }

    /// The deadline in force: the caller's, cut to the cap, or the default.
    pub(crate) fn deadline(&self, started: Instant, asked: Option<Duration>) -> Option<Deadline> {
        let cap = self.deadline_cap.unwrap_or(Duration::MAX);
        let (allowed, origin) = match asked {
            Some(asked) if asked > cap => (cap, DeadlineOrigin::ServerCap),
            Some(asked) => (asked, DeadlineOrigin::Caller),
            None => (self.deadline_default?, DeadlineOrigin::ServerDefault),
        };
        Some(Deadline::after(started, allowed, origin))
    }
}

/// The settings that mean `name`, the exact ones first.
fn find<'a>(all: &'a [MethodSettings], name: &str) -> Option<&'a MethodSettings> {
    let of_service = || {
        let (service, _) = name.split_once('/')?;
        all.iter().find(|own| own.methods.strip_suffix("/*") == Some(service))
    };
    all.iter().find(|own| own.methods == name).or_else(of_service)
}

/// Problems of `settings.methods`, given the names of all described methods.
pub(crate) fn problems<'a>(settings: &Settings, known: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let mut problems = Vec::new();
    for own in &settings.methods {
        let name = &own.methods;
        let service = name.strip_suffix("/*");
        let means =
            |known: &str| known == name || known.split_once('/').map(|(service, _)| service) == service;
        if !known.clone().any(means) {
            problems.push(format!("methods: the descriptors have no {name}; correct the name"));
        }
        if own.deadline_default.is_some_and(|default| default.is_zero()) {
            problems
                .push(format!("methods: deadline_default of {name} is 0, so every RPC would fail at once"));
        }
        if own.message_size_bytes_max == Some(0) {
            problems.push(format!("methods: message_size_bytes_max of {name} is 0; set it to at least 1"));
        }
        let limits = MethodLimits::resolve(settings, name, MethodKind::Unary, false);
        if limits.deadline_default > limits.deadline_cap {
            problems
                .push(format!("methods: deadline_default of {name} exceeds its deadline_cap; raise the cap"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        let of_service = MethodSettings {
            methods: "a.B/*".to_owned(),
            deadline_default: Some(7 * SECOND),
            stream_idle: Some(Duration::ZERO),
            ..MethodSettings::default()
        };
        let exact = MethodSettings {
            methods: "a.B/Big".to_owned(),
            message_size_bytes_max: Some(64 << 20),
            deadline_cap: Some(9000 * SECOND),
            ..MethodSettings::default()
        };
        Settings { methods: vec![of_service, exact], ..Settings::default() }
    }

    fn decided(limits: MethodLimits, asked: Option<Duration>) -> Option<(Duration, DeadlineOrigin)> {
        limits.deadline(Instant::now(), asked).map(|deadline| (deadline.allowed(), deadline.origin()))
    }

    #[test]
    fn the_deadline_is_the_callers_unless_the_method_is_unary_and_it_is_missing_or_too_long() {
        let settings = Settings::default();
        for (kind, asked, want) in [
            (MethodKind::Unary, None, Some((30 * SECOND, DeadlineOrigin::ServerDefault))),
            (MethodKind::Unary, Some(5 * SECOND), Some((5 * SECOND, DeadlineOrigin::Caller))),
            (MethodKind::Unary, Some(9000 * SECOND), Some((300 * SECOND, DeadlineOrigin::ServerCap))),
            (MethodKind::Streaming, None, None),
            (MethodKind::Streaming, Some(9000 * SECOND), Some((9000 * SECOND, DeadlineOrigin::Caller))),
            (MethodKind::Unknown, None, None),
        ] {
            let limits = MethodLimits::resolve(&settings, "x.Y/Z", kind, false);
            assert_eq!(decided(limits, asked), want, "{kind:?} {asked:?}");
        }
    }

    #[test]
    fn the_exact_name_wins_over_the_service_and_both_over_the_server() {
        let settings = settings();
        let big = MethodLimits::resolve(&settings, "a.B/Big", MethodKind::Unary, false);
        assert_eq!(big.message_size_bytes_max, 64 << 20);
        assert_eq!(decided(big, Some(600 * SECOND)), Some((600 * SECOND, DeadlineOrigin::Caller)));
        let watch = MethodLimits::resolve(&settings, "a.B/Watch", MethodKind::Streaming, false);
        assert_eq!(decided(watch, None), Some((7 * SECOND, DeadlineOrigin::ServerDefault)));
        assert_eq!(watch.stream_idle, None, "zero is never");
        let other = MethodLimits::resolve(&settings, "c.D/E", MethodKind::Streaming, false);
        assert_eq!(other.stream_idle, Some(300 * SECOND));
        assert_eq!(MethodLimits::resolve(&settings, "c.D/E", MethodKind::Streaming, true).stream_idle, None);
    }

    #[test]
    fn a_misspelled_method_is_a_problem() {
        let known = ["a.B/Watch", "a.B/Big"];
        assert_eq!(problems(&settings(), known.into_iter()), [""; 0]);
        let text = problems(&settings(), ["a.B/Watch"].into_iter()).join("; ");
        assert!(text.contains("a.B/Big"), "{text}");
    }
}
