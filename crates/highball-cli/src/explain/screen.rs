//! The report in 80 columns.

use std::fmt::Write as _;
use std::time::Duration;

use highball::channel::explain::{EndpointSnapshot, Picked, Snapshot};

use super::method;
use super::report::{Calls, Outcome, Report};
use crate::health::METHOD;

/// Columns of a terminal.
const WIDTH: usize = 80;

/// Columns before a value.
const INDENT: usize = 10;

/// The whole screen, without a newline at its end.
pub(super) fn of(report: &Report) -> String {
    let mut screen = String::new();
    field(&mut screen, "target", &report.target);
    if let Some(snapshot) = &report.snapshot {
        channel(&mut screen, snapshot);
        calls(&mut screen, &report.calls);
        endpoints(&mut screen, &snapshot.endpoints);
        picks(&mut screen, &snapshot.picks);
    }
    if let Some((name, config)) = &report.method {
        heading(&mut screen, name.full_name());
        match config {
            Some(config) => {
                for (what, value) in method::lines(config) {
                    wrapped(&mut screen, &format!("  {what:<16} "), &value);
                }
            }
            None => wrapped(
                &mut screen,
                "  ",
                "unknown: the target is not resolved, so there is no service config",
            ),
        }
    }
    screen.push('\n');
    wrapped(&mut screen, "", &report.verdict.sentence);
    screen.truncate(screen.trim_end().len());
    screen
}

fn channel(screen: &mut String, snapshot: &Snapshot) {
    field(screen, "state", snapshot.state);
    field(screen, "policy", snapshot.policy);
    if let Some(error) = &snapshot.resolve_error {
        field(screen, "resolving", &format!("failed the last time: {error}"));
    }
    if let Some(error) = &snapshot.config_error {
        field(screen, "config", &format!("the resolver's is refused: {error}"));
    }
    if let Some(tokens) = snapshot.retry_tokens {
        field(
            screen,
            "throttle",
            &format!("{tokens} retry tokens left; nothing is retried once half of them are gone"),
        );
    }
}

fn calls(screen: &mut String, calls: &Calls) {
    if calls.made == 0 {
        return;
    }
    field(screen, "calls", &format!("{} of {METHOD}", calls.made));
    for Outcome { code, says, count, fastest, slowest } in &calls.outcomes {
        let colon = if says.is_empty() { "" } else { ": " };
        let took =
            if count > &1 { format!("{fastest:.1?} to {slowest:.1?}") } else { format!("{slowest:.1?}") };
        field(screen, "", &format!("{count} x {code}{colon}{says} ({took})"));
    }
}

/// The columns of [`row`], which fill a line.
const COLUMNS: [&str; 8] = ["endpoint", "state", "for", "conns", "calls", "latency", "tries", "failed"];

fn endpoints(screen: &mut String, endpoints: &[EndpointSnapshot]) {
    if endpoints.is_empty() {
        return;
    }
    screen.push('\n');
    row(screen, COLUMNS);
    for endpoint in endpoints {
        let age = Duration::from_millis(u64::try_from(endpoint.since_ms).unwrap_or(u64::MAX));
        let latency = endpoint.latency_us.and_then(|micros| u64::try_from(micros).ok());
        let latency = latency.map_or_else(|| "-".to_owned(), |micros| brief(Duration::from_micros(micros)));
        let (tries, failed) = endpoint.connects;
        let mut addresses = endpoint.addresses.iter().map(String::as_str);
        let mut name = addresses.next().unwrap_or("no address");
        if name.chars().count() > NAME_WIDTH {
            line(screen, name);
            name = "";
        }
        let [connections, active] = [endpoint.connections, endpoint.active].map(|count| count.to_string());
        let counts = [tries, failed].map(|count| count.to_string());
        row(
            screen,
            [name, endpoint.state, &brief(age), &connections, &active, &latency, &counts[0], &counts[1]],
        );
        for address in addresses {
            wrapped(screen, "  or       ", address);
        }
        if let Some(why) = &endpoint.trouble {
            wrapped(screen, "  why      ", why);
        }
        if let Some(why) = &endpoint.ejected {
            wrapped(screen, "  ejected  ", why);
        }
    }
}

/// Columns for an address; a longer one has a line of its own.
const NAME_WIDTH: usize = 22;

fn row(screen: &mut String, [name, state, age, conns, calls, latency, tries, failed]: [&str; 8]) {
    line(
        screen,
        &format!(
            "{name:<NAME_WIDTH$} {state:<17} {age:>6} {conns:>5} {calls:>5} {latency:>7} {tries:>5} {failed:>6}"
        ),
    );
}

/// Picks of the same endpoint for the same reason together, in the sequence of their first.
fn picks(screen: &mut String, picks: &[Picked]) {
    if picks.is_empty() {
        return;
    }
    let mut groups: Vec<(&Picked, usize)> = Vec::new();
    for pick in picks {
        let alike = |(known, _): &&mut (&Picked, usize)| {
            (&known.endpoint, &known.method, known.why) == (&pick.endpoint, &pick.method, pick.why)
        };
        match groups.iter_mut().find(alike) {
            Some((_, count)) => *count += 1,
            None => groups.push((pick, 1)),
        }
    }
    heading(screen, &format!("last {} picks", picks.len()));
    for (Picked { method, endpoint, why }, count) in groups {
        wrapped(screen, &format!("  {count:>3} x "), &format!("{endpoint}  by {why}  for {method}"));
    }
}

pub(super) fn heading(screen: &mut String, text: &str) {
    screen.push('\n');
    line(screen, text);
}

pub(super) fn field(screen: &mut String, name: &str, value: &str) {
    wrapped(screen, &format!("{name:<INDENT$}"), value);
}

pub(super) fn line(screen: &mut String, text: &str) {
    // Writing into a String cannot fail.
    writeln!(screen, "{}", clean(text).trim_end()).ok();
}

/// `text` behind `start`, broken between words where the line is full and indented as far as `start` goes.
pub(super) fn wrapped(screen: &mut String, start: &str, text: &str) {
    let indent = " ".repeat(start.chars().count());
    let mut row = start.to_owned();
    let mut empty = true;
    for word in clean(text).split(' ') {
        if !empty && row.chars().count() + 1 + word.chars().count() > WIDTH {
            line(screen, &row);
            row.clone_from(&indent);
            empty = true;
        }
        if !empty {
            row.push(' ');
        }
        row.push_str(word);
        empty = false;
    }
    line(screen, &row);
}

/// What others wrote must not steer the terminal; lines of ours end in newlines.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Three digits at most, and a unit.
fn brief(time: Duration) -> String {
    match time.as_secs() {
        0 if time.is_zero() => "now".to_owned(),
        0 if time.as_micros() < 1000 => format!("{}us", time.as_micros()),
        0 => format!("{}ms", time.as_millis()),
        seconds @ 1..100 => format!("{seconds}s"),
        seconds @ 100..6000 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_broken_between_words_and_indented() {
        let mut screen = String::new();
        wrapped(&mut screen, "why  ", &"word ".repeat(30));
        let lines: Vec<&str> = screen.lines().collect();
        assert!(lines.len() == 2 && lines.iter().all(|line| line.len() <= WIDTH), "{screen}");
        assert!(lines[1].starts_with("     word"), "{screen}");
    }

    #[test]
    fn times_have_three_digits_at_most() {
        for (millis, want) in
            [(0, "now"), (7, "7ms"), (999, "999ms"), (99_999, "99s"), (100_000, "1m"), (6_000_000, "1h")]
        {
            assert_eq!(brief(Duration::from_millis(millis)), want);
        }
        assert_eq!(brief(Duration::from_micros(999)), "999us");
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        let mut screen = String::new();
        field(&mut screen, "calls", "a\u{1b}[2Jb");
        assert!(!screen.contains('\u{1b}'));
    }
}
