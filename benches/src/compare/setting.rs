//! Settings: how many connections and streams, and how large a message.

use std::fmt;
use std::str::FromStr;

/// A shape of the load. Written `c8m16`: 8 connections of 16 streams, each a closed loop. `c8m4-64k` has messages of 64 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) connections: u32,
    /// Streams that each connection has open at a time.
    pub(crate) streams: u32,
    /// Of one message, each way, in bytes and without its envelope.
    pub(crate) size: u32,
}

const SIZE_DEFAULT: u32 = 64;

/// Above this, a round has fewer RPCs.
const SIZE_LARGE: u32 = 8 << 10;

impl Setting {
    /// RPCs of a round, so that it takes about a second: a multiple of connections times streams, and at least one each.
    pub(crate) fn rpcs(self, wanted: Option<u32>) -> u32 {
        let at_a_time = self.connections * self.streams;
        let wanted = wanted.unwrap_or(match at_a_time {
            0..4 => 5_000,
            _ if self.size > SIZE_LARGE => 6_000,
            _ => 40_000,
        });
        (wanted / at_a_time).max(1) * at_a_time
    }

    /// As an argument that reads back as the same.
    pub(crate) fn argument(self) -> String {
        let Self { connections, streams, size } = self;
        format!("c{connections}m{streams}-{size}")
    }

    /// The message in its envelope.
    pub(crate) fn message(self) -> Vec<u8> {
        message(self.size)
    }
}

/// `size` bytes that differ from each other, in an envelope that is not compressed.
pub(crate) fn message(size: u32) -> Vec<u8> {
    let content = (0..size).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]);
    std::iter::once(0).chain(size.to_be_bytes()).chain(content).collect()
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, streams, size } = self;
        match size {
            size if size % 1024 == 0 => write!(f, "c{connections}m{streams}, {} KiB", size / 1024),
            size => write!(f, "c{connections}m{streams}, {size} B"),
        }
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (shape, size) =
                text.split_once('-').map_or((text, None), |(shape, size)| (shape, Some(size)));
            let (connections, streams) = shape.strip_prefix('c')?.split_once('m')?;
            let size = match size.map(|size| (size.strip_suffix('k'), size)) {
                None => SIZE_DEFAULT,
                Some((Some(kib), _)) => kib.parse::<u32>().ok()?.checked_mul(1024)?,
                Some((None, bytes)) => bytes.parse().ok()?,
            };
            let setting =
                Self { connections: connections.parse().ok()?, streams: streams.parse().ok()?, size };
            let bounded = (1..=256).contains(&setting.connections)
                && (1..=100).contains(&setting.streams)
                && (1..=1 << 20).contains(&setting.size);
            bounded.then_some(setting)
        };
        parse().ok_or_else(|| {
            "write c8m16 or c8m4-64k: up to 256 connections of up to 100 streams, messages up to 1024k"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_written_as_in_the_tables() {
        let read = |text: &str| text.parse::<Setting>();
        assert_eq!(read("c8m16"), Ok(Setting { connections: 8, streams: 16, size: 64 }));
        assert_eq!(read("c8m4-64k").map(|setting| setting.to_string()), Ok("c8m4, 64 KiB".to_owned()));
        assert_eq!(read("c8m4-64k").map(|setting| setting.argument()), Ok("c8m4-65536".to_owned()));
        assert_eq!(read("c1m1-100").map(|setting| setting.to_string()), Ok("c1m1, 100 B".to_owned()));
        for wrong in ["", "8x16", "c0m1", "c1m101", "c257m1", "c1m1-0", "c1m1-1025k", "c1m1-4194304k"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_round_is_whole_and_never_empty() {
        let setting = Setting { connections: 64, streams: 4, size: 64 };
        assert_eq!(setting.rpcs(None), 39_936);
        assert_eq!(setting.rpcs(Some(1)), 256);
    }

    #[test]
    fn a_message_has_its_length_in_front() {
        assert_eq!(message(3).get(..5), Some(&[0, 0, 0, 0, 3][..]));
        assert_eq!(message(3).len(), 8);
    }
}
