//! The intake's metrics: every name and label value in one place, handles made once.

use super::refusal::EventResult;
use ::metrics::{Counter, counter, describe_counter};

/// Statuses that are counted by themselves; any other is counted as `other`.
const STATUSES: [(u16, &str); 11] = [
    (200, "200"),
    (204, "204"),
    (207, "207"),
    (400, "400"),
    (401, "401"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (503, "503"),
    (0, "other"),
];

#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Vec<(u16, Counter)>,
    stored: Counter,
    dead_letters: Counter,
    rejected: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        describe_counter!(
            "ha_ingestor_intake_requests_total",
            "Requests answered, by status"
        );
        describe_counter!(
            "ha_ingestor_intake_events_total",
            "Events of answered requests, by result"
        );
        let requests = |status| counter!("ha_ingestor_intake_requests_total", "status" => status);
        let events = |result| counter!("ha_ingestor_intake_events_total", "result" => result);
        let metrics = Self {
            requests: STATUSES
                .map(|(status, text)| (status, requests(text)))
                .into(),
            stored: events("stored"),
            dead_letters: events("dead_letter"),
            rejected: events("rejected"),
        };
        metrics
            .requests
            .iter()
            .for_each(|(_, counter)| counter.increment(0));
        for counter in [&metrics.stored, &metrics.dead_letters, &metrics.rejected] {
            counter.increment(0);
        }
        metrics
    }

    pub fn answered(&self, status: u16) {
        let of = |wanted| self.requests.iter().find(|(status, _)| *status == wanted);
        if let Some((_, counter)) = of(status).or_else(|| of(0)) {
            counter.increment(1);
        }
    }

    pub fn results(&self, results: &[EventResult]) {
        let count = |of: fn(&EventResult) -> bool| results.iter().filter(|r| of(r)).count() as u64;
        self.stored
            .increment(count(|result| matches!(result, EventResult::Stored)));
        self.dead_letters
            .increment(count(|r| matches!(r, EventResult::DeadLetter { .. })));
        self.rejected.increment(count(|result| {
            matches!(result, EventResult::Rejected { .. })
        }));
    }
}
