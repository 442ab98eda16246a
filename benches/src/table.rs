//! What was measured, as a table.

use crate::load::Shape;
use crate::serve::Variant;

/// Microseconds per RPC of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// On a CPU, of the server.
    pub(crate) cpu: f64,
    /// By the clock on the wall.
    pub(crate) wall: f64,
}

/// `costs` are by variant, then by round.
#[expect(clippy::print_stdout, reason = "a command for people")]
pub(crate) fn print(shape: Shape, rpcs: u32, rounds: u32, costs: &[Vec<Cost>]) {
    let Shape { connections, streams } = shape;
    let rpcs = shape.round(rpcs);
    println!("{connections} connections of {streams} streams; {rounds} rounds of {rpcs} RPCs\n");
    println!(
        "| variant | CPU µs per RPC, median (min to max) | over bare, median (min to max) | wall µs per RPC |"
    );
    println!("|---|---|---|---|");
    let bare = costs.first().map(Vec::as_slice).unwrap_or_default();
    for (variant, costs) in Variant::ALL.iter().zip(costs) {
        // Round by round: both saw the same machine.
        let ratio = Spread::of(costs.iter().zip(bare).map(|(cost, bare)| cost.cpu / bare.cpu));
        let cpu = Spread::of(costs.iter().map(|cost| cost.cpu));
        let wall = Spread::of(costs.iter().map(|cost| cost.wall));
        println!("| {} | {cpu} | {ratio} | {wall} |", variant.name());
    }
    println!();
}

struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self { min: at(0), median: at(sorted.len() / 2), max: at(sorted.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { min, median, max } = self;
        write!(f, "{median:.2} ({min:.2} to {max:.2})")
    }
}
