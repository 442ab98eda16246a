//! Single values: numbers, times, sizes, and what is written as a string.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use highball_auth::duration;
use highball_core::Code;
use highball_core::units::ByteSize;
use toml::de::DeValue;

use super::nearest::did_you_mean;
use super::table::Item;

/// Longer times are mistakes, and too long for some clocks.
const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Characters of a wrong value that a message repeats.
const REPEATED_MAX: usize = 64;

impl<'a> Item<'a> {
    pub(super) fn string(self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text),
            _ => self.expected("a string"),
        }
    }

    /// A string that is not empty.
    pub(super) fn text(self) -> Option<&'a str> {
        let text = self.string()?;
        if text.is_empty() {
            return self.problem(|| format!("{} is empty; fill it in, or leave it out", self.name));
        }
        Some(text)
    }

    pub(super) fn boolean(self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number within a range.
    pub(super) fn whole<T: TryFrom<u64>>(self, range: RangeInclusive<u64>) -> Option<T> {
        let DeValue::Integer(number) = self.value else { return self.expected("a whole number") };
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let value = value.and_then(|value| u64::try_from(value).ok()).filter(|value| range.contains(value));
        value.and_then(|value| T::try_from(value).ok()).or_else(|| {
            let (from, to) = (range.start(), range.end());
            self.problem(|| format!("{} is {number}; it must be between {from} and {to}", self.name))
        })
    }

    /// A count of at least one.
    pub(super) fn count<T: TryFrom<u64>>(self) -> Option<T> {
        self.whole(1..=u64::from(u32::MAX))
    }

    /// A number, whole or not.
    pub(super) fn number(self) -> Option<f64> {
        let value: Option<f64> = match self.value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(|value| value as f64)
            }
            _ => return self.expected("a number"),
        };
        value
            .filter(|value| value.is_finite())
            .or_else(|| self.problem(|| format!("{} is not a number that can be used", self.name)))
    }

    /// A number above zero.
    pub(super) fn positive(self) -> Option<f64> {
        let number = self.number()?;
        if number > 0.0 {
            return Some(number);
        }
        self.problem(|| format!("{} is {number}; it must be more than 0", self.name))
    }

    /// 0 to 100, with fractions.
    pub(super) fn percent(self) -> Option<f64> {
        let percent = self.number()?;
        if (0.0..=100.0).contains(&percent) {
            return Some(percent);
        }
        self.problem(|| format!("{} is {percent}; a percentage is between 0 and 100", self.name))
    }

    /// A time, zero included.
    pub(super) fn duration(self) -> Option<Duration> {
        let DeValue::String(text) = self.value else {
            return self.expected("a string with a unit, such as \"250ms\", \"30s\" or \"5m\"");
        };
        match duration::parse(text) {
            Ok(duration) if duration > DURATION_MAX => {
                self.problem(|| format!("{} is longer than a year; write a shorter time", self.name))
            }
            Ok(duration) => Some(duration),
            Err(_) => self.malformed(text, "a time; write a whole number with ms, s, m, h or d"),
        }
    }

    /// A time that is not zero.
    pub(super) fn some_time(self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            return self.problem(|| format!("{} is zero; write a longer time, or leave it out", self.name));
        }
        Some(duration)
    }

    /// A size, zero included; only zero needs no unit.
    pub(super) fn size(self) -> Option<usize> {
        match self.value {
            DeValue::Integer(number) if number.as_str() == "0" => Some(0),
            DeValue::String(text) => match text.parse::<ByteSize>() {
                Ok(size) => Some(size.0),
                Err(_) => self.malformed(text, "a size; write a whole number with B, KiB, MiB or GiB"),
            },
            _ => self.expected("a string with a unit, such as \"256KiB\" or \"4MiB\""),
        }
    }

    /// A size that is not zero, and that 32 bits can say.
    pub(super) fn some_size<T: TryFrom<usize>>(self) -> Option<T> {
        let size = self.size()?;
        if size == 0 {
            return self.problem(|| format!("{} is 0; it must be at least 1B", self.name));
        }
        let size = u32::try_from(size).ok().and_then(|_| T::try_from(size).ok());
        size.or_else(|| self.problem(|| format!("{} is 4GiB or more; write a smaller size", self.name)))
    }

    /// The path of a file, relative to the folder of the file that names it.
    pub(super) fn path(self) -> Option<PathBuf> {
        self.text().map(|path| self.notes.path(path))
    }

    /// What a type reads from strings.
    pub(super) fn parse<T: FromStr>(self, what: &str) -> Option<T> {
        let text = self.string()?;
        text.parse().ok().or_else(|| self.malformed(text, what))
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        found.or_else(|| {
            let names = || choices.iter().map(|(name, _)| *name);
            self.problem(|| {
                let (known, suggestion) =
                    (names().collect::<Vec<_>>().join(", "), did_you_mean(text, names()));
                format!("{} is {}, which is none of {known}{suggestion}", self.name, quoted(text))
            })
        })
    }

    /// A status code that is a failure, by its name.
    pub(super) fn code(self) -> Option<Code> {
        let failures: Vec<_> = Code::ALL.into_iter().skip(1).map(|code| (code.name(), code)).collect();
        self.choice(&failures)
    }

    /// Notes that a string is not what it should be: `"..." is not WHAT`.
    pub(super) fn malformed<T>(&self, text: &str, what: impl Display) -> Option<T> {
        self.problem(|| format!("{}: {} is not {what}", self.name, quoted(text)))
    }
}

/// What a message repeats of a value: not too much of it, and escaped.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(REPEATED_MAX).collect();
    let dots = if shown.len() < text.len() { "..." } else { "" };
    format!("{shown:?}{dots}")
}
