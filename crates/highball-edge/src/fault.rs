//! Faults on purpose, for tests (gRFC A33).

use std::time::Duration;

use highball_core::{Code, Status};

use crate::settings;

/// What goes wrong, and how often. Each percentage has its own dice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault(pub(crate) settings::Fault);

impl Fault {
    /// Waits and fails, as the dice say.
    ///
    /// # Errors
    /// The status that was asked for.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub(crate) async fn strike(&self, random: impl Fn() -> u64) -> Result<(), Status> {
        if let Some(delay) = self.delay(random()) {
            tokio::time::sleep(delay).await;
        }
        match self.abort(random()) {
            Some(code) => Err(Status::new(code, "a fault was injected (fault)")),
            None => Ok(()),
        }
    }

    fn delay(&self, random: u64) -> Option<Duration> {
        self.0.delay.filter(|(_, percent)| hits(*percent, random)).map(|(delay, _)| delay)
    }

    fn abort(&self, random: u64) -> Option<Code> {
        self.0.abort.filter(|(_, percent)| hits(*percent, random)).map(|(code, _)| code)
    }
}

/// Whether something that happens in `percent` of all cases happens in this one.
pub(crate) fn hits(percent: f64, random: u64) -> bool {
    // 53 bits: all that a float can tell apart.
    ((random >> 11) as f64 / (1_u64 << 53) as f64) * 100.0 < percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_met_as_often_as_it_says() {
        let rolls = (0..10_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let hit = rolls.clone().filter(|roll| hits(20.0, *roll)).count();
        assert!((1_900..2_100).contains(&hit), "{hit}");
        assert!(rolls.clone().all(|roll| hits(100.0, roll)));
        assert!(!rolls.clone().any(|roll| hits(0.0, roll)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_and_an_abort_come_together() {
        let delay = Some((Duration::from_secs(5), 100.0));
        let fault = Fault(settings::Fault { delay, abort: Some((Code::Aborted, 100.0)) });
        let started = tokio::time::Instant::now();
        let status = fault.strike(|| 7).await.unwrap_err();
        assert_eq!((status.code(), started.elapsed()), (Code::Aborted, Duration::from_secs(5)));
        let never = Fault(settings::Fault { delay: None, abort: Some((Code::Aborted, 0.0)) });
        assert_eq!(never.strike(|| 7).await, Ok(()));
    }
}
