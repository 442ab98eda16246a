//! Sizes as people read them.

use std::fmt;

/// A number of bytes, printed in the largest binary unit that divides it: `4 MiB`, `1536 KiB`, `17 B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_printed_exactly() {
        for (bytes, text) in
            [(0, "0 B"), (17, "17 B"), (4 << 20, "4 MiB"), (1536 << 10, "1536 KiB"), (1 << 30, "1 GiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
