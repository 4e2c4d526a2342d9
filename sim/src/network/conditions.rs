//! How frames fare on a link: delay, loss in bursts, duplicates, reordering, and a limit of bytes.

use std::time::Duration;

use serde::Serialize;

use crate::seed::{Chance, Probability};

/// How a link behaves, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Config {
    /// One-way delay, drawn evenly from this range for each frame.
    pub latency: (Duration, Duration),
    /// The share of frames that are lost, over a long time.
    pub loss: Probability,
    /// How many frames one after the other a loss takes on average. 1: each frame is lost by itself;
    /// more: a model of Gilbert and Elliott that loses all frames while a burst lasts.
    pub burst: u32,
    /// The share of frames that arrive twice.
    pub duplicate: Probability,
    /// The share of frames that are overtaken by later ones of their lane.
    pub reorder: Probability,
    /// How much later such a frame, or the second of two, arrives: up to this.
    pub late: Duration,
    /// Bytes per second; `None`: no limit.
    pub rate: Option<u64>,
}

impl Default for Config {
    /// One data centre: 0.2 to 0.5 ms, and nothing goes wrong.
    fn default() -> Self {
        Self {
            latency: (Duration::from_micros(200), Duration::from_micros(500)),
            loss: Probability::ZERO,
            burst: 1,
            duplicate: Probability::ZERO,
            reorder: Probability::ZERO,
            late: Duration::from_millis(20),
            rate: None,
        }
    }
}

impl Config {
    /// The same latency, and nothing goes wrong.
    #[must_use]
    pub fn calm(self) -> Self {
        Self {
            latency: self.latency,
            ..Self::default()
        }
    }

    /// Whether the next frame is lost. `losing`: whether a burst is on.
    pub(super) fn loses(&self, losing: &mut bool, chance: &mut Chance) -> bool {
        if self.burst <= 1 || self.loss == Probability::ONE {
            return chance.happens(self.loss);
        }
        let one = u64::from(Probability::ONE.as_millionths());
        let (loss, burst) = (u64::from(self.loss.as_millionths()), u64::from(self.burst));
        let kept = one - loss;
        // A burst ends with probability 1/burst, and begins so that the share of both is right. Where
        // so much is lost that the next one would have to begin sooner than at once, bursts are longer.
        let changes = if *losing {
            (one / burst).min(one * kept / loss.max(1))
        } else {
            one * loss / (kept * burst).max(1)
        };
        let changes = u32::try_from(changes).unwrap_or(u32::MAX);
        *losing ^= chance.happens(Probability::millionths(changes));
        *losing
    }

    /// For how long a limited link is busy with a frame.
    pub(super) fn sending_takes(&self, bytes: usize) -> Option<Duration> {
        let rate = self.rate?.max(1);
        Some(Duration::from_micros(
            (bytes as u64).saturating_mul(1_000_000) / rate,
        ))
    }

    /// How much later than in its turn the next frame arrives, where it is overtaken.
    pub(super) fn overtaken(&self, chance: &mut Chance) -> Option<Duration> {
        let happens = chance.happens(self.reorder);
        happens.then(|| chance.duration((Duration::ZERO, self.late)))
    }

    /// How much later the next frame arrives once more, where it does.
    pub(super) fn repeated(&self, chance: &mut Chance) -> Option<Duration> {
        let happens = chance.happens(self.duplicate);
        happens.then(|| chance.duration((Duration::ZERO, self.late)))
    }
}
