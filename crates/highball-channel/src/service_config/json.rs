//! Reading proto3 JSON by hand, so that every error names its place.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// Why a service config is invalid: the JSON path of the place, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfigError {
    /// Such as `methodConfig[2].retryPolicy.maxAttempts`; empty for the whole.
    place: String,
    problem: String,
}

impl ServiceConfigError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { place: String::new(), problem: problem.into() }
    }

    /// Where in the JSON, such as `methodConfig[2].retryPolicy.maxAttempts`. Empty for the whole.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn in_field(mut self, name: &str) -> Self {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{name}{dot}{}", self.place);
        self
    }

    pub(super) fn at_index(mut self, index: usize) -> Self {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("[{index}]{dot}{}", self.place);
        self
    }
}

impl fmt::Display for ServiceConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place.is_empty() { "service config" } else { &self.place };
        write!(f, "{place}: {}", self.problem)
    }
}

impl std::error::Error for ServiceConfigError {}

pub(super) type Read<T> = Result<T, ServiceConfigError>;
pub(super) type Object = serde_json::Map<String, Value>;

/// A field that may be missing; `null` is missing, as in proto3 JSON.
pub(super) fn optional<'a, T>(
    object: &'a Object,
    name: &str,
    read: impl FnOnce(&'a Value) -> Read<T>,
) -> Read<Option<T>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).map_err(|error| error.in_field(name)),
    }
}

/// A field that must be there.
pub(super) fn required<'a, T>(
    object: &'a Object,
    name: &str,
    read: impl FnOnce(&'a Value) -> Read<T>,
) -> Read<T> {
    optional(object, name, read)?.ok_or_else(|| ServiceConfigError::new("is required").in_field(name))
}

/// Every entry of a list.
pub(super) fn each<'a, T>(value: &'a Value, mut read: impl FnMut(&'a Value) -> Read<T>) -> Read<Vec<T>> {
    let read = |(index, entry)| read(entry).map_err(|error| error.at_index(index));
    list(value)?.iter().enumerate().map(read).collect()
}

pub(super) fn list(value: &Value) -> Read<&[Value]> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| expected("a list", value))
}

pub(super) fn object(value: &Value) -> Read<&Object> {
    value.as_object().ok_or_else(|| expected("an object", value))
}

pub(super) fn string(value: &Value) -> Read<&str> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

pub(super) fn boolean(value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

/// A whole number that is not negative. proto3 JSON also writes it as a string, with a fraction of zero or an exponent.
pub(super) fn whole(value: &Value) -> Read<u64> {
    let whole = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(exactly)),
        Value::String(text) => {
            text.parse().ok().or_else(|| text.parse().ok().filter(|_| is_number(text)).and_then(exactly))
        }
        _ => None,
    };
    whole.ok_or_else(|| expected("a whole number that is not negative", value))
}

/// The same, up to 32 bits.
pub(super) fn whole_u32(value: &Value) -> Read<u32> {
    let number = whole(value)?;
    u32::try_from(number).map_err(|_| ServiceConfigError::new(format!("{number} is more than {}", u32::MAX)))
}

/// A number of `[0, 100]`.
pub(super) fn percent(value: &Value) -> Read<u32> {
    let number = whole(value)?;
    u32::try_from(number)
        .ok()
        .filter(|number| *number <= 100)
        .ok_or_else(|| ServiceConfigError::new(format!("{number} is more than 100 per cent")))
}

/// A finite number. proto3 JSON also writes it as a string.
pub(super) fn number(value: &Value) -> Read<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().filter(|_| is_number(text)),
        _ => None,
    };
    number.filter(|number: &f64| number.is_finite()).ok_or_else(|| expected("a number", value))
}

/// A `google.protobuf.Duration`: seconds with up to nine decimals and an `s`. Not negative: nothing here can be.
pub(super) fn duration(value: &Value) -> Read<Duration> {
    let text = string(value)?;
    parse_duration(text).ok_or_else(|| {
        ServiceConfigError::new(format!(
            "{text:?} is not a duration: write seconds that are not negative, with up to nine decimals and an s, such as \"1.5s\""
        ))
    })
}

/// A duration that is not zero either.
pub(super) fn some_time(value: &Value) -> Read<Duration> {
    let duration = duration(value)?;
    if duration.is_zero() { Err(ServiceConfigError::new("must be more than 0s")) } else { Ok(duration) }
}

fn parse_duration(text: &str) -> Option<Duration> {
    /// About ten thousand years, the bound of `google.protobuf.Duration`.
    const SECONDS_MAX: u64 = 315_576_000_000;
    let text = text.strip_suffix('s')?;
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // gRFC A6 writes ".1s", so either side of the dot may be empty, but not both.
    if !is_digits(seconds)
        || !is_digits(decimals)
        || decimals.len() > 9
        || seconds.len() + decimals.len() == 0
    {
        return None;
    }
    let seconds: u64 = if seconds.is_empty() { 0 } else { seconds.parse().ok()? };
    let nanos: u32 = format!("{decimals:0<9}").parse().ok()?;
    (seconds <= SECONDS_MAX).then(|| Duration::new(seconds, nanos))
}

/// What JSON calls a number; Rust would also read `inf` and `+1`.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
}

/// A float that is a whole number, below the point where floats stop telling neighbours apart.
fn exactly(number: f64) -> Option<u64> {
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
    ((0.0..EXACT_BELOW).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

fn expected(what: &str, found: &Value) -> ServiceConfigError {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        // Somebody else's text: enough of it to find the place.
        Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    ServiceConfigError::new(format!("expected {what}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_those_of_proto3_json() {
        for (text, nanos) in [
            ("0s", 0),
            ("1s", 1_000_000_000),
            ("1.5s", 1_500_000_000),
            (".1s", 100_000_000),
            ("1.s", 1_000_000_000),
            ("0.000000001s", 1),
            ("315576000000s", 315_576_000_000_000_000_000),
        ] {
            assert_eq!(duration(&json!(text)).unwrap().as_nanos(), nanos, "{text}");
        }
        for text in [
            "",
            "s",
            ".s",
            "1",
            "1.5",
            "-1s",
            "-0s",
            "+1s",
            " 1s",
            "1 s",
            "1m",
            "1e3s",
            "0.0000000001s",
            "315576000001s",
            "99999999999999999999999s",
            "1.5.5s",
        ] {
            assert!(duration(&json!(text)).is_err(), "{text}");
        }
        assert!(duration(&json!(1)).is_err());
        assert!(some_time(&json!("0s")).is_err());
    }

    #[test]
    fn whole_numbers_may_be_strings_and_floats_without_a_fraction() {
        for (value, number) in [
            (json!(3), 3),
            (json!("3"), 3),
            (json!(3.0), 3),
            (json!("3.0"), 3),
            (json!(1e3), 1000),
            (json!("1e3"), 1000),
        ] {
            assert_eq!(whole(&value).unwrap(), number, "{value}");
        }
        assert_eq!(whole(&json!("18446744073709551615")).unwrap(), u64::MAX);
        for value in [
            json!(-1),
            json!(1.5),
            json!("1.5"),
            json!(""),
            json!(true),
            json!(null),
            json!([1]),
            json!(1e300),
        ] {
            assert!(whole(&value).is_err(), "{value}");
        }
        assert!(whole_u32(&json!(4_294_967_296u64)).is_err());
        assert!(percent(&json!(101)).is_err());
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(number(&json!("0.5")).unwrap(), 0.5);
        for value in
            [json!("NaN"), json!("Infinity"), json!("inf"), json!("-Infinity"), json!("1e999"), json!("x")]
        {
            assert!(number(&value).is_err(), "{value}");
        }
    }
}
