//! What the service config of a world says, in a form that checkers can read too.

use std::fmt::Write as _;
use std::time::Duration;

use highball_testkit::sim::Random;
use highball_tests::SHOP_DESCRIPTORS;
use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{FileDescriptorSet, MethodOptions};

/// The methods of `shop.v1.Shop`, each of another shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Unary.
    Get,
    /// Server streaming.
    Watch,
    /// Client streaming.
    Upload,
    /// Bidirectional.
    Chat,
}

impl Method {
    pub(crate) const ALL: [Self; 4] = [Self::Get, Self::Watch, Self::Upload, Self::Chat];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "Get",
            Self::Watch => "Watch",
            Self::Upload => "Upload",
            Self::Chat => "Chat",
        }
    }
}

/// How often calls of a method may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Never,
    /// As the descriptors say, without a word in the service config.
    Idempotent,
    Retry {
        attempts: u32,
        timeout: Option<Duration>,
    },
    Hedge {
        attempts: u32,
        delay: Duration,
    },
}

impl Repeat {
    /// Attempts that may reach the code of a service.
    pub(crate) fn attempts_max(self) -> usize {
        match self {
            Self::Never => 1,
            Self::Idempotent => 3,
            Self::Retry { attempts, .. } | Self::Hedge { attempts, .. } => attempts as usize,
        }
    }

    fn draw(random: &Random) -> Self {
        let attempts = random.of(2..6) as u32;
        match random.of(0..5) {
            0 => Self::Never,
            1 => Self::Idempotent,
            2 | 3 => {
                let timeout = random.percent(30).then(|| random.millis(200..1000));
                Self::Retry { attempts, timeout }
            }
            _ => Self::Hedge { attempts, delay: random.millis(0..150) },
        }
    }
}

/// What is wanted of the calls of a world.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// JSON of the innermost policy.
    pub(crate) policy: &'static str,
    pub(crate) ejection_percent_max: usize,
    pub(crate) consecutive_failures: u32,
    pub(crate) ejection: Duration,
    /// `maxTokens` and `tokenRatio`.
    pub(crate) throttle: (u32, f64),
    /// The service whose health is watched; without one, nobody asked and it only steers.
    pub(crate) health: Option<&'static str>,
    /// By the order of [`Method::ALL`].
    pub(crate) repeats: [Repeat; 4],
}

pub(crate) const ROUND_ROBIN: &str = r#"{"round_robin":{}}"#;
pub(crate) const PEAK_EWMA: &str = r#"{"peak_ewma":{"decay":"2s"}}"#;
pub(crate) const PICK_FIRST: &str = r#"{"pick_first":{"shuffleAddressList":true}}"#;
const POLICIES: [&str; 8] = [
    ROUND_ROBIN,
    r#"{"round_robin":{"slowStartConfig":{"slowStartWindow":"1s"}}}"#,
    PEAK_EWMA,
    PICK_FIRST,
    r#"{"least_request_experimental":{}}"#,
    r#"{"least_request_experimental":{"choiceCount":3}}"#,
    r#"{"weighted_round_robin":{"blackoutPeriod":"1s"}}"#,
    r#"{"ring_hash_experimental":{}}"#,
];

impl Config {
    /// Round robin, with ejections that are short, and every method sent once.
    pub(crate) fn plain() -> Self {
        Self {
            policy: ROUND_ROBIN,
            ejection_percent_max: 50,
            consecutive_failures: 5,
            ejection: Duration::from_secs(1),
            throttle: (100, 0.1),
            health: None,
            repeats: [Repeat::Never; 4],
        }
    }

    /// Anything.
    pub(crate) fn draw(random: &Random) -> Self {
        Self {
            policy: random.choose(&POLICIES),
            ejection_percent_max: random.choose(&[10, 34, 50, 75, 100]),
            consecutive_failures: random.of(2..6) as u32,
            ejection: random.millis(500..2000),
            throttle: (random.of(1..20) as u32, random.choose(&[0.1, 0.5, 1.0])),
            health: random.choose(&[None, Some(""), Some("shop.v1.Shop")]),
            repeats: std::array::from_fn(|_| Repeat::draw(random)),
        }
    }

    pub(crate) fn repeat(&self, method: Method) -> Repeat {
        self.repeats[method as usize]
    }

    pub(crate) fn is_pick_first(&self) -> bool {
        self.policy == PICK_FIRST
    }

    /// Whether each of several endpoints gets some of many calls, whatever it was like before.
    pub(crate) fn spreads(&self) -> bool {
        !self.is_pick_first() && self.policy != PEAK_EWMA
    }

    /// Endpoints of `count` that may be ejected at once.
    pub(crate) fn ejected_max(&self, count: usize) -> usize {
        (self.ejection_percent_max * count / 100).max(1)
    }

    pub(crate) fn json(&self) -> String {
        let balancing = if self.is_pick_first() {
            self.policy.to_owned()
        } else {
            format!(
                r#"{{"outlier_detection_experimental":{{"interval":"0.5s","baseEjectionTime":"{:.3}s","maxEjectionTime":"3s",
                "maxEjectionPercent":{},"consecutiveFailures":{},"failurePercentageEjection":{{"threshold":60,"minimumHosts":2,
                "requestVolume":5}},"childPolicy":[{}]}}}}"#,
                self.ejection.as_secs_f64(),
                self.ejection_percent_max,
                self.consecutive_failures,
                self.policy
            )
        };
        let health = self
            .health
            .map(|name| format!(r#""healthCheckConfig":{{"serviceName":"{name}"}},"#))
            .unwrap_or_default();
        let methods: Vec<String> = Method::ALL.into_iter().filter_map(|method| self.method(method)).collect();
        format!(
            r#"{{"loadBalancingConfig":[{balancing}],{health}
            "retryThrottling":{{"maxTokens":{},"tokenRatio":{}}},"methodConfig":[{}]}}"#,
            self.throttle.0,
            self.throttle.1,
            methods.join(",")
        )
    }

    fn method(&self, method: Method) -> Option<String> {
        let mut json = format!(r#"{{"name":[{{"service":"shop.v1.Shop","method":"{}"}}],"#, method.name());
        match self.repeat(method) {
            Repeat::Never | Repeat::Idempotent => return None,
            Repeat::Retry { attempts, timeout } => {
                let timeout = timeout
                    .map(|timeout| format!(r#""perAttemptRecvTimeout":"{:.3}s","#, timeout.as_secs_f64()))
                    .unwrap_or_default();
                write!(
                    json,
                    r#""retryPolicy":{{"maxAttempts":{attempts},{timeout}"initialBackoff":"0.02s","maxBackoff":"0.2s",
                    "backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE","RESOURCE_EXHAUSTED"]}}}}"#
                )
            }
            Repeat::Hedge { attempts, delay } => write!(
                json,
                r#""hedgingPolicy":{{"maxAttempts":{attempts},"hedgingDelay":"{:.3}s","nonFatalStatusCodes":["UNAVAILABLE"]}}}}"#,
                delay.as_secs_f64()
            ),
        }
        .expect("a string takes everything");
        Some(json)
    }

    /// The descriptors of the shop, in which methods are idempotent that shall be.
    pub(crate) fn descriptors(&self) -> Vec<u8> {
        let mut set = FileDescriptorSet::decode(SHOP_DESCRIPTORS).expect("our own descriptors");
        let services = set.file.iter_mut().flat_map(|file| &mut file.service);
        for method in services.flat_map(|service| &mut service.method) {
            let known = Method::ALL.into_iter().find(|known| known.name() == method.name());
            if known.is_some_and(|known| self.repeat(known) == Repeat::Idempotent) {
                let options = method.options.get_or_insert_with(MethodOptions::default);
                options.set_idempotency_level(IdempotencyLevel::NoSideEffects);
            }
        }
        set.encode_to_vec()
    }
}
