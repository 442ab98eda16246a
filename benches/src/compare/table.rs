//! What was measured, as one table.

use std::fmt::Display;

use crate::load::Seen;
use crate::setting::Setting;

/// One round of one peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) seen: Seen,
    /// CPU microseconds of the peer per RPC.
    pub(crate) cpu: f64,
    /// CPU microseconds of both backends per RPC.
    pub(crate) backends: f64,
    /// RPCs that the first backend answered, of all.
    pub(crate) share: f64,
}

/// All rounds of one peer in one setting.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Round>,
    /// Resident memory after the rounds, in bytes.
    pub(crate) resident: u64,
}

/// A number of a round.
type Field = fn(&Round) -> f64;

/// `base` is the name of the row the others are divided by.
#[expect(clippy::print_stdout, reason = "a command for people")]
pub(crate) fn print_head(base: &str) {
    println!(
        "| setting | proxy | CPU µs per RPC, median (min to max) | ÷ {base} | RPC/s | ÷ | p50 µs | ÷ | p99 µs | ÷ \
         | RSS MB | ÷ | backends: CPU µs per RPC, RPCs of the first |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
}

#[expect(clippy::print_stdout, reason = "a command for people")]
pub(crate) fn print(setting: Setting, rows: &[Row], base: &str) {
    let base = rows.iter().find(|row| row.name == base);
    for row in rows {
        println!("| {setting} | {} |", line(row, base));
    }
}

fn line(row: &Row, base: Option<&Row>) -> String {
    let cpu: Field = |round| round.cpu;
    let cell = |field: Field| format!("{:.0} | {}", median(row, field), ratio(row, base, field));
    let (rate, p50, p99) =
        (cell(|round| round.seen.rate), cell(|round| round.seen.p50), cell(|round| round.seen.p99));
    let (min, max) = row
        .rounds
        .iter()
        .map(cpu)
        .fold((f64::INFINITY, 0.0_f64), |(min, max), value| (min.min(value), max.max(value)));
    let megabytes = |row: &Row| row.resident as f64 / 1e6;
    let memory = base.map(|base| megabytes(row) / megabytes(base));
    format!(
        "{} | {:.2} ({min:.2} to {max:.2}) | {} | {rate} | {p50} | {p99} | {:.1} | {} | {:.2}, {:.0} %",
        row.name,
        median(row, cpu),
        ratio(row, base, cpu),
        megabytes(row),
        or_none(memory),
        median(row, |round| round.backends),
        median(row, |round| round.share) * 100.0,
    )
}

/// The median of the ratios of single rounds: both saw the same machine.
fn ratio(row: &Row, base: Option<&Row>, field: Field) -> impl Display + use<> {
    let ratios = |base: &Row| {
        row.rounds.iter().zip(&base.rounds).map(|(own, base)| field(own) / field(base)).collect()
    };
    or_none(base.map(|base| middle(ratios(base))))
}

fn or_none(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn median(row: &Row, field: Field) -> f64 {
    middle(row.rounds.iter().map(field).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, cpu: &[f64]) -> Row {
        let round = |cpu: &f64| Round {
            seen: Seen { rate: 1e6 / cpu, p50: cpu * 10.0, p99: cpu * 20.0 },
            cpu: *cpu,
            backends: 4.0,
            share: 0.25,
        };
        Row { name, rounds: cpu.iter().map(round).collect(), resident: 8_000_000 }
    }

    #[test]
    fn a_row_is_compared_round_by_round() {
        let (base, other) = (row("edge", &[1.0, 2.0, 4.0]), row("other", &[9.0, 6.0, 8.0]));
        assert_eq!(
            line(&other, Some(&base)),
            "other | 8.00 (6.00 to 9.00) | 3.00 | 125000 | 0.33 | 80 | 3.00 | 160 | 3.00 | 8.0 | 1.00 | 4.00, 25 %"
        );
    }

    #[test]
    fn without_the_other_there_is_no_ratio() {
        assert!(
            line(&row("other", &[2.0]), None).starts_with("other | 2.00 (2.00 to 2.00) | - | 500000 | - |")
        );
    }
}
