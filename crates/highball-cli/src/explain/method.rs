//! What applies to the calls of one method, in words.

use highball::channel::service_config::{Codes, MethodConfig, Repeat};
use highball::core::Method;
use serde_json::{Value, json};

/// Reads `package.Service/Method`, with or without the slash that paths begin with.
pub(super) fn parse(text: &str) -> Result<Method, String> {
    let wrong = || "expected package.Service/Method, such as grpc.health.v1.Health/Check".to_owned();
    let path = format!("/{}", text.strip_prefix('/').unwrap_or(text));
    Method::parse(&path.parse().map_err(|_| wrong())?).map_err(|_| wrong())
}

/// Names and values, one for each line.
pub(super) fn lines(config: &MethodConfig) -> Vec<(&'static str, String)> {
    let timeout =
        config.timeout.map_or_else(|| "none: the application's alone".to_owned(), |time| format!("{time:?}"));
    let wait = match config.wait_for_ready {
        Some(true) => "yes: calls wait for an endpoint until their deadline",
        _ => "no: without an endpoint calls fail at once",
    };
    let size = |size: Option<usize>| size.map_or_else(|| "any".to_owned(), bytes);
    let mut lines = vec![("timeout", timeout), ("wait for ready", wait.to_owned())];
    lines.extend(repeat(&config.repeat));
    lines.push(("request", format!("at most {}", size(config.request_size_bytes_max))));
    lines.push(("response", format!("at most {}", size(config.response_size_bytes_max))));
    lines
}

fn repeat(repeat: &Repeat) -> Vec<(&'static str, String)> {
    match repeat {
        Repeat::Never => vec![("retries", "only what no server can have worked on".to_owned())],
        Repeat::Retry(policy) => {
            let mut lines = vec![
                (
                    "retries",
                    format!("up to {} attempts on {}", policy.max_attempts, names(policy.retryable_codes)),
                ),
                (
                    "",
                    format!(
                        "after {:?}, times {}, at most {:?}, give or take a fifth",
                        policy.initial_backoff, policy.backoff_multiplier, policy.max_backoff
                    ),
                ),
            ];
            lines.extend(
                policy.per_attempt_timeout.map(|time| ("", format!("each attempt answers within {time:?}"))),
            );
            lines
        }
        Repeat::Hedge(policy) => {
            let mut lines = vec![
                (
                    "hedging",
                    format!("up to {} attempts, the next after {:?}", policy.max_attempts, policy.delay),
                ),
                ("", format!("at once after {}", names(policy.non_fatal_codes))),
            ];
            lines.extend(
                policy.per_attempt_timeout.map(|time| ("", format!("each attempt answers within {time:?}"))),
            );
            lines
        }
    }
}

/// The same for programs, in the words of the service config.
pub(super) fn json(method: &Method, config: Option<&MethodConfig>) -> Value {
    let Some(config) = config else { return json!({ "name": method.full_name(), "config": null }) };
    let seconds = |time: std::time::Duration| format!("{}s", time.as_secs_f64());
    let codes = |codes: Codes| codes.iter().map(|code| code.name()).collect::<Vec<_>>();
    let mut out = json!({
        "timeout": config.timeout.map(seconds),
        "waitForReady": config.wait_for_ready,
        "maxRequestMessageBytes": config.request_size_bytes_max,
        "maxResponseMessageBytes": config.response_size_bytes_max,
    });
    match &config.repeat {
        Repeat::Never => {}
        Repeat::Retry(policy) => {
            out["retryPolicy"] = json!({
                "maxAttempts": policy.max_attempts,
                "initialBackoff": seconds(policy.initial_backoff),
                "maxBackoff": seconds(policy.max_backoff),
                "backoffMultiplier": policy.backoff_multiplier,
                "retryableStatusCodes": codes(policy.retryable_codes),
                "perAttemptRecvTimeout": policy.per_attempt_timeout.map(seconds),
            });
        }
        Repeat::Hedge(policy) => {
            out["hedgingPolicy"] = json!({
                "maxAttempts": policy.max_attempts,
                "hedgingDelay": seconds(policy.delay),
                "nonFatalStatusCodes": codes(policy.non_fatal_codes),
                "perAttemptRecvTimeout": policy.per_attempt_timeout.map(seconds),
            });
        }
    }
    json!({ "name": method.full_name(), "config": out })
}

fn names(codes: Codes) -> String {
    let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
    if names.is_empty() { "no code".to_owned() } else { names.join(", ") }
}

fn bytes(bytes: usize) -> String {
    match bytes {
        whole if whole >= 1 << 20 && whole.is_multiple_of(1 << 20) => format!("{} MiB", whole >> 20),
        whole if whole >= 1 << 10 && whole.is_multiple_of(1 << 10) => format!("{} KiB", whole >> 10),
        odd => format!("{odd} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_written_with_or_without_the_slash() {
        assert_eq!(parse("a.B/C").unwrap().full_name(), "a.B/C");
        assert_eq!(parse("/a.B/C").unwrap().full_name(), "a.B/C");
        for bad in ["a.B", "a.B/C/D", "", "/"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_told_in_the_greatest_unit_that_fits() {
        assert_eq!([4 << 20, 64 << 10, 1000].map(bytes), ["4 MiB", "64 KiB", "1000 bytes"]);
    }
}
