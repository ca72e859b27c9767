//! The gap in the history that is not filled yet, for `/status` and the metrics.

use ha_event::UtcMicros;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by the batcher, which opens and closes the gap, and gap fill, which says what keeps it
/// open. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct OpenGap(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    from_ns: Option<i64>,
    /// Requests for this gap that Home Assistant refused, or answered with what cannot be read.
    refused: u64,
    last_refusal: Option<String>,
    /// Those of all gaps of this process.
    refused_total: u64,
}

impl OpenGap {
    /// Says where the gap begins, nanoseconds of source time; `None` when there is none.
    pub fn set(&self, from_ns: Option<i64>) {
        let mut state = self.state();
        if from_ns.is_none() {
            state.refused = 0;
            state.last_refusal = None;
        }
        state.from_ns = from_ns;
    }

    /// Home Assistant did not give a part of the gap's history.
    pub fn refused(&self, reason: String) {
        let mut state = self.state();
        state.refused += 1;
        state.refused_total += 1;
        state.last_refusal = Some(reason);
    }

    /// How many requests for history were refused since the process began.
    #[must_use]
    pub fn refused_total(&self) -> u64 {
        self.state().refused_total
    }

    /// Seconds from the gap's beginning until now; 0 without a gap.
    #[must_use]
    pub fn age_s(&self, now_ns: i64) -> f64 {
        let age_ns = |from_ns| now_ns.saturating_sub(from_ns).max(0);
        self.state().from_ns.map_or(0, age_ns) as f64 / 1e9
    }

    /// The value of `gaps` in `/status`: a list of the open gaps.
    #[must_use]
    pub fn status(&self) -> Value {
        let state = self.state();
        let gap = state.from_ns.map(|from_ns| {
            json!({
                "from": UtcMicros(from_ns.div_euclid(1_000)).to_string(),
                "history_refused": state.refused,
                "last_refusal": state.last_refusal,
            })
        });
        gap.into_iter().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_shown_until_it_is_closed_and_refusals_are_counted() {
        let gap = OpenGap::default();
        assert_eq!((gap.status(), gap.age_s(5)), (json!([]), 0.0));
        gap.set(Some(2_000_000_000));
        gap.refused("unknown_command".into());
        gap.refused("timeout".into());
        assert_eq!(gap.age_s(3_500_000_000), 1.5);
        assert_eq!(gap.age_s(0), 0.0, "a clock that stepped back");
        let shown = json!([{
            "from": "1970-01-01T00:00:02.000000Z", "history_refused": 2, "last_refusal": "timeout",
        }]);
        assert_eq!(gap.status(), shown);
        gap.set(None);
        assert_eq!((gap.status(), gap.age_s(5)), (json!([]), 0.0));
        gap.set(Some(0));
        assert_eq!(gap.status()[0]["last_refusal"], Value::Null);
        assert_eq!(gap.refused_total(), 2);
    }
}
