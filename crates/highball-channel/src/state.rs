//! Connectivity states.

use std::fmt;

/// How reachable something is (grpc `doc/connectivity-semantics-and-api.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Not connected and not trying, because nobody asked.
    Idle = 0,
    /// Trying; calls wait.
    Connecting = 1,
    /// Connected, and healthy where health is watched.
    Ready = 2,
    /// Failed lately. Stays so until it is ready again: further attempts in between do not count as connecting (gRFC A62).
    TransientFailure = 3,
    /// Closed for good.
    Shutdown = 4,
}

impl State {
    /// The specification's spelling: `TRANSIENT_FAILURE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Ready => "READY",
            Self::TransientFailure => "TRANSIENT_FAILURE",
            Self::Shutdown => "SHUTDOWN",
        }
    }

    /// The state of a whole that uses any of its parts: READY if one is; else CONNECTING if one is connecting or idle; else
    /// TRANSIENT_FAILURE. Nothing at all is TRANSIENT_FAILURE.
    pub fn of_any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = Self::TransientFailure;
        for part in parts {
            match part {
                Self::Ready => return Self::Ready,
                Self::Connecting | Self::Idle => whole = Self::Connecting,
                Self::TransientFailure | Self::Shutdown => {}
            }
        }
        whole
    }

    pub(crate) fn from_u8(byte: u8) -> Self {
        match byte {
            0 => Self::Idle,
            1 => Self::Connecting,
            2 => Self::Ready,
            3 => Self::TransientFailure,
            _ => Self::Shutdown,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    #[test]
    fn a_whole_is_as_good_as_its_best_part() {
        assert_eq!(State::of_any([TransientFailure, Ready, Idle]), Ready);
        assert_eq!(State::of_any([TransientFailure, Idle]), Connecting);
        assert_eq!(State::of_any([TransientFailure, Connecting]), Connecting);
        assert_eq!(State::of_any([TransientFailure]), TransientFailure);
        assert_eq!(State::of_any([]), TransientFailure);
        for state in [Idle, Connecting, Ready, TransientFailure, Shutdown] {
            assert_eq!(State::from_u8(state as u8), state);
        }
    }
}
