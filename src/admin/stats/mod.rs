//! The store's figures: how many sessions, how fast carts pick them up, how they end, how long they last.
//!
//! Each figure comes from sums the database makes along an index; what is left to do here is small,
//! however many sessions there were.

pub mod http;
pub mod store;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::StoreId;

/// The longest span figures are made of.
pub const LONGEST: Duration = Duration::from_secs(92 * 24 * 3600);

/// An hour, in milliseconds.
pub const HOUR: i64 = 3_600_000;

/// What figures are made of.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Sessions scanned then or later,
    pub from: Timestamp,
    /// and before then.
    pub to: Timestamp,
    /// In this store; in all where `None`.
    pub store: Option<StoreId>,
}

impl Span {
    /// Its hours, each by its beginning. The first one begins where the span does, or before.
    pub fn hours(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (first, to) = (self.from.0.div_euclid(HOUR) * HOUR, self.to.0);
        (first..to).step_by(HOUR as usize).map(Timestamp)
    }
}

/// So many times this value: what percentiles are read from.
pub type Tally = Vec<(i64, i64)>;

/// The value below which this share lies, of values in ascending order: the nearest rank.
pub fn percentile(tally: &Tally, share: f64) -> Option<i64> {
    let all: i64 = tally.iter().map(|(_, times)| times).sum();
    let rank = (all as f64 * share).ceil().max(1.0) as i64;
    let mut seen = 0;
    tally
        .iter()
        .find(|(_, times)| {
            seen += times;
            seen >= rank
        })
        .map(|(value, _)| *value)
}

/// `part` of `whole`, where there is a whole.
pub fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let tally: Tally = (1..=100).map(|value| (value, 1)).collect();
        assert_eq!(
            [0.5, 0.95, 0.99, 1.0].map(|share| percentile(&tally, share)),
            [Some(50), Some(95), Some(99), Some(100)]
        );
        assert_eq!(percentile(&vec![(7, 1)], 0.5), Some(7));
        assert_eq!(percentile(&vec![(7, 99), (900, 1)], 0.99), Some(7));
        assert_eq!(percentile(&Vec::new(), 0.5), None);
    }

    #[test]
    fn hours_cover_the_span_and_no_more() {
        let hours = |from, to| {
            Span { from: Timestamp(from), to: Timestamp(to), store: None }
                .hours()
                .map(|at| at.0 / HOUR)
                .collect::<Vec<_>>()
        };
        assert_eq!(hours(0, 2 * HOUR), [0, 1]);
        assert_eq!(hours(HOUR - 1, HOUR + 1), [0, 1]);
        assert_eq!(hours(HOUR, HOUR), [0; 0]);
    }
}
