//! Sizes as people read them.

use std::fmt;
use std::str::FromStr;

/// Units, the largest first. The last divides everything.
const UNITS: [(usize, &str); 4] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

/// A number of bytes, printed in the largest binary unit that divides it: `4 MiB`, `1536 KiB`, `17 B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Reads a whole number with its unit, `4MiB` or `4 MiB`. A number alone is refused, and so are `KB` and `MB`: people
/// disagree on how much they are.
impl FromStr for ByteSize {
    type Err = InvalidByteSize;

    fn from_str(text: &str) -> Result<Self, InvalidByteSize> {
        let unit_start = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_start);
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let size = UNITS.iter().find(|(_, name)| *name == unit).map(|(size, _)| *size);
        let bytes =
            size.zip(number.parse().ok()).and_then(|(size, number): (_, usize)| number.checked_mul(size));
        bytes.map(Self).ok_or(InvalidByteSize(()))
    }
}

/// Text that is no [`ByteSize`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidByteSize(());

impl fmt::Display for InvalidByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a size; write a whole number with B, KiB, MiB or GiB")
    }
}

impl std::error::Error for InvalidByteSize {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_needs_a_number_and_a_binary_unit() {
        for (text, bytes) in
            [("0B", 0), ("17 B", 17), ("4MiB", 4 << 20), ("1536 KiB", 1536 << 10), ("1GiB", 1 << 30)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "4", "MiB", "4MB", "4mib", "4  MiB", "-1B", "1.5MiB", "4MiB ", "17179869184GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read() {
        for bytes in [0, 1, 1023, 1024, 1025, 5 << 20, 3 << 30] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
    }

    #[test]
    fn sizes_are_printed_exactly() {
        for (bytes, text) in
            [(0, "0 B"), (17, "17 B"), (4 << 20, "4 MiB"), (1536 << 10, "1536 KiB"), (1 << 30, "1 GiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
