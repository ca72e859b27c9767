//! Whether a rate holds, of the product and of the bare chain. Pure.
//!
//! A rate holds if, over one step at it, at least 95 % of the events were sent, no more than a
//! quarter of a second's events were not stored when the step ended (the backlog does not grow), and
//! the 99th percentile until they were stored is at most 250 ms.

use std::time::Duration;

use super::search::TRIES;

const SENT_SHARE_MIN: f64 = 0.95;
const P99_MS_MAX: f64 = 250.0;
/// Of a second: events that may be on their way at the end of a step.
const UNDER_WAY_S_MAX: f64 = 0.25;

/// What came of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    pub(super) rate: f64,
    pub(super) lasts: Duration,
    pub(super) sent: u64,
    /// Sent and not stored when the step ended.
    pub(super) under_way: u64,
    /// `None`: nothing was stored.
    pub(super) p99_ms: Option<f64>,
}

impl Tried {
    /// Why the rate does not hold; none if it does.
    pub(super) fn reasons(self) -> Vec<String> {
        let mut reasons = Vec::new();
        let required = SENT_SHARE_MIN * self.rate * self.lasts.as_secs_f64();
        if (self.sent as f64) < required {
            let sent = self.sent;
            reasons.push(format!("{sent} sent of {required:.0} at least"));
        }
        let under_way_max = UNDER_WAY_S_MAX * self.rate;
        if self.under_way as f64 > under_way_max {
            let under_way = self.under_way;
            reasons.push(format!(
                "{under_way} not stored at the end, {under_way_max:.0} at most"
            ));
        }
        match self.p99_ms {
            None => reasons.push("nothing was stored".to_owned()),
            Some(p99) if p99 > P99_MS_MAX => reasons.push(format!("p99 {p99:.0} ms")),
            Some(_) => {}
        }
        reasons
    }
}

/// The criterion in words, for the report.
pub(super) fn words(step: Duration) -> String {
    format!(
        "a rate holds if in {} s of it at least {:.0} % of the events were sent, at the end no more \
         than {UNDER_WAY_S_MAX} s of events were not stored, and p99 is at most {P99_MS_MAX:.0} ms; \
         one that does not is tried {TRIES} times in all; the bare chain's, too",
        step.as_secs(),
        SENT_SHARE_MIN * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_when_all_three_hold() {
        let reasons = |sent, under_way, p99_ms| {
            let tried = Tried {
                rate: 1_000.0,
                lasts: Duration::from_secs(10),
                sent,
                under_way,
                p99_ms,
            };
            tried.reasons().len()
        };
        assert_eq!(reasons(9_500, 250, Some(250.0)), 0);
        for (sent, under_way, p99_ms) in [
            (9_499, 0, Some(1.0)),
            (10_000, 251, Some(1.0)),
            (10_000, 0, Some(251.0)),
            (10_000, 0, None),
        ] {
            assert_eq!(reasons(sent, under_way, p99_ms), 1, "{sent} {under_way}");
        }
    }
}
