//! One report of a scenario that makes several runs.

use std::collections::BTreeSet;

use crate::extra::Extra;
use crate::report::{Report, Verdict};
use crate::rounded::rounded;

impl Report {
    /// The sum of the cases; `None` without one. It fails if one of them does. Latencies, memory
    /// and what else cannot be added up stand in the cases.
    #[must_use]
    pub fn of_cases(cases: Vec<Self>) -> Option<Self> {
        let mut all = cases.first()?.clone();
        (all.case, all.latency_ms, all.drill) = (None, None, None);
        (all.producer, all.worker, all.recovery_s) = (None, None, None);
        (all.broker_rss_mb_max, all.database_rss_mb_max) = (None, None);
        (all.broker_cpu_s_load, all.database_cpu_s_load) = (None, None);
        (all.loadtest, all.load_s, all.load_events) = (None, None, None);
        all.starts = Vec::new();
        all.extra = Extra::default();
        all.series = Vec::new();
        all.faults = Vec::new();
        all.exits = Vec::new();
        all.notes = Vec::new();
        let modes: BTreeSet<&str> = cases.iter().map(|case| case.mode.as_str()).collect();
        all.mode = modes.into_iter().collect::<Vec<_>>().join(",");
        let sum = |of: fn(&Self) -> u64| cases.iter().map(of).sum::<u64>();
        let sum_known =
            |of: fn(&Self) -> Option<u64>| cases.iter().filter_map(of).reduce(|a, b| a + b);
        let sum_s = |of: fn(&Self) -> Option<f64>| {
            let seconds = cases.iter().filter_map(of).reduce(|a, b| a + b);
            seconds.map(rounded)
        };
        all.events_sent = sum(|case| case.events_sent);
        all.events_fired = sum(|case| case.events_fired);
        all.events_stored = sum_known(|case| case.events_stored);
        all.missing = sum_known(|case| case.missing);
        all.duplicates = sum_known(|case| case.duplicates);
        all.unexplained = sum_known(|case| case.unexplained);
        all.uncertain = sum_known(|case| case.uncertain);
        all.dead_lettered = sum_known(|case| case.dead_lettered);
        all.redelivered = sum_known(|case| case.redelivered);
        all.redelivered_settled = sum_known(|case| case.redelivered_settled);
        all.broker_cpu_s = sum_s(|case| case.broker_cpu_s);
        all.database_cpu_s = sum_s(|case| case.database_cpu_s);
        all.queue_depth_max = cases.iter().filter_map(|case| case.queue_depth_max).max();
        all.workers = cases
            .iter()
            .map(|case| case.workers)
            .max()
            .unwrap_or_default();
        all.seconds = rounded(cases.iter().map(|case| case.seconds).sum());
        all.drain_s = rounded(cases.iter().map(|case| case.drain_s).sum());
        all.events_per_s = rounded(all.events_sent as f64 / all.seconds.max(1e-3));
        let good = cases.iter().all(|case| case.verdict == Verdict::Pass);
        all.verdict = if good { Verdict::Pass } else { Verdict::Fail };
        let reasons = cases.iter().flat_map(|case| {
            let name = case.case.as_deref().unwrap_or_default();
            let reasons = case.reasons.iter();
            reasons.map(move |reason| format!("{name}: {reason}"))
        });
        all.reasons = reasons.collect();
        all.cases = cases;
        Some(all)
    }
}
