//! What was made, what arrived, and how long it took.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use loadtest_engine::progress::Progress;
use tokio::sync::watch;

use super::receiver::Arrival;

/// From a fault to the page at the latest. The longest window is 60 s of it.
const FIRING_MAX: Duration = Duration::from_secs(300);
/// From the end of a fault to the news of it. Of one rule the window is 240 s.
const RESOLVED_MAX: Duration = Duration::from_secs(600);

/// An alert by name and severity.
pub(super) type Name = (&'static str, &'static str);

/// One alert of one fault.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) alert: Name,
    pub(super) fault: &'static str,
    /// Where it arrived.
    pub(super) receiver: String,
    /// From the fault to the web hook; `None`: not seen.
    pub(super) firing_s: Option<f64>,
    /// From the end of the fault to the web hook.
    pub(super) resolved_s: Option<f64>,
}

/// A fault that is being made.
#[derive(Debug)]
pub(super) struct Made {
    fault: &'static str,
    at: Instant,
    /// Arrivals before it.
    first: usize,
    /// Its rows.
    rows: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Proofs<'a> {
    arrivals: watch::Receiver<Vec<Arrival>>,
    /// The receiver of an alert by name and severity.
    routes: BTreeMap<(String, String), String>,
    rows: Vec<Row>,
    problems: Vec<String>,
    progress: &'a Progress,
}

impl<'a> Proofs<'a> {
    /// `routes` is the text of `routes.test`.
    pub(super) fn new(
        arrivals: watch::Receiver<Vec<Arrival>>,
        routes: &str,
        progress: &'a Progress,
    ) -> Self {
        Self {
            arrivals,
            routes: self::routes(routes),
            rows: Vec::new(),
            problems: Vec::new(),
            progress,
        }
    }

    /// A fault is about to be made. None of its alerts may be on from before: that waits for their
    /// end.
    pub(super) async fn begin(&mut self, fault: &'static str, alerts: &[Name]) -> Made {
        let quiet = self
            .arrivals
            .wait_for(|arrivals| !alerts.iter().any(|alert| is_on(arrivals, *alert)));
        if tokio::time::timeout(RESOLVED_MAX, quiet).await.is_err() {
            let problem = format!("{fault}: its alerts were on before it was made");
            self.problems.push(problem);
        }
        self.progress.step(&format!("fault: {fault}"));
        let first = self.arrivals.borrow().len();
        Made {
            fault,
            at: Instant::now(),
            first,
            rows: Vec::new(),
        }
    }

    /// Waits for these to arrive.
    pub(super) async fn firing(&mut self, made: &mut Made, alerts: &[Name]) {
        for alert in alerts {
            let found = {
                let first = made.first;
                let new = |arrivals: &[Arrival]| {
                    let mut arrivals = arrivals[first..].iter();
                    arrivals
                        .find(|arrival| arrival.firing && arrival.is(alert.0, alert.1))
                        .cloned()
                };
                let seen = self.arrivals.wait_for(|arrivals| new(arrivals).is_some());
                let seen = tokio::time::timeout(FIRING_MAX, seen).await;
                seen.ok()
                    .and_then(Result::ok)
                    .and_then(|arrivals| new(&arrivals))
            };
            let (name, severity) = alert;
            match &found {
                Some(arrival) => {
                    self.check_route(arrival, *alert);
                    let seconds = arrival.at.duration_since(made.at).as_secs_f64();
                    self.progress
                        .step(&format!("  {name} ({severity}) after {seconds:.1} s"));
                }
                None => {
                    let fault = made.fault;
                    let problem = format!("{fault}: {name} ({severity}) did not arrive");
                    self.progress.step(&problem);
                    self.problems.push(problem);
                }
            }
            made.rows.push(self.rows.len());
            self.rows.push(Row {
                alert: *alert,
                fault: made.fault,
                firing_s: found
                    .as_ref()
                    .map(|arrival| arrival.at.duration_since(made.at).as_secs_f64()),
                receiver: found.map_or(String::new(), |arrival| arrival.receiver),
                resolved_s: None,
            });
        }
    }

    /// Waits for the end of all that arrived of this fault, which was undone at `undone`.
    pub(super) async fn resolved(&mut self, made: &Made, undone: Instant) {
        for index in &made.rows {
            let row = self.rows[*index].clone();
            if row.firing_s.is_none() {
                continue;
            }
            let over = self
                .arrivals
                .wait_for(|arrivals| !is_on(arrivals, row.alert));
            let over = tokio::time::timeout(RESOLVED_MAX, over).await;
            let at = over.ok().and_then(Result::ok).and_then(|arrivals| {
                let (name, severity) = row.alert;
                let of_it = arrivals.iter().rev();
                let last = of_it
                    .filter(|arrival| !arrival.firing)
                    .find(|arrival| arrival.is(name, severity));
                last.map(|arrival| arrival.at)
            });
            let (name, severity) = row.alert;
            match at {
                Some(at) => {
                    let seconds = at.saturating_duration_since(undone).as_secs_f64();
                    self.rows[*index].resolved_s = Some(seconds);
                    self.progress.step(&format!(
                        "  {name} ({severity}) resolved {seconds:.1} s after"
                    ));
                }
                None => {
                    let fault = made.fault;
                    let problem = format!("{fault}: {name} ({severity}) was not resolved");
                    self.progress.step(&problem);
                    self.problems.push(problem);
                }
            }
        }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What was not seen of the faults, and rules that no fault was for.
    pub(super) fn problems(&self, alerts: &[(String, String)]) -> Vec<String> {
        let mut problems = self.problems.clone();
        for (name, severity) in alerts {
            let is_it = |row: &&Row| row.alert == (name.as_str(), severity.as_str());
            if !self.rows.iter().any(|row| is_it(&row)) {
                problems.push(format!("no fault is made for {name} ({severity})"));
            }
        }
        problems
    }

    fn check_route(&mut self, arrival: &Arrival, alert: Name) {
        let (name, severity) = alert;
        let wanted = self.routes.get(&(name.to_owned(), severity.to_owned()));
        if wanted != Some(&arrival.receiver) {
            self.problems.push(format!(
                "{name} ({severity}) came to {} and not to {wanted:?}",
                arrival.receiver
            ));
        }
    }
}

/// Whether an alert of this name, with whatever other labels, was last heard of as firing.
fn is_on(arrivals: &[Arrival], (name, severity): Name) -> bool {
    let mut over = BTreeSet::new();
    for arrival in arrivals.iter().rev() {
        if arrival.is(name, severity) && over.insert(&arrival.fingerprint) && arrival.firing {
            return true;
        }
    }
    false
}

/// Lines of receiver and labels.
fn routes(text: &str) -> BTreeMap<(String, String), String> {
    let mut routes = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let receiver = words.next().unwrap_or_default();
        let labels: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let label = |name: &str| labels.get(name).copied().unwrap_or_default().to_owned();
        routes.insert((label("alertname"), label("severity")), receiver.to_owned());
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(fingerprint: &str, firing: bool) -> Arrival {
        let labels = [("alertname", "A"), ("severity", "warning")];
        Arrival {
            at: Instant::now(),
            receiver: "page".to_owned(),
            firing,
            fingerprint: fingerprint.to_owned(),
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    #[test]
    fn an_alert_is_on_until_all_its_kinds_are_over() {
        let a = ("A", "warning");
        let mut arrivals = vec![arrival("1", true), arrival("2", true)];
        assert!(is_on(&arrivals, a));
        assert!(!is_on(&arrivals, ("A", "critical")));
        arrivals.push(arrival("1", false));
        assert!(is_on(&arrivals, a));
        arrivals.push(arrival("2", false));
        assert!(!is_on(&arrivals, a));
        arrivals.push(arrival("1", true));
        assert!(is_on(&arrivals, a));
    }

    #[tokio::test]
    async fn an_alert_that_comes_to_another_receiver_is_a_problem() {
        let (sender, arrivals) = watch::channel(Vec::new());
        let progress = Progress::new();
        let routes = "# a comment\nworking-hours alertname=A severity=warning\n";
        let mut proofs = Proofs::new(arrivals, routes, &progress);
        let mut made = proofs.begin("a fault", &[("A", "warning")]).await;
        sender.send_modify(|arrivals| arrivals.push(arrival("1", true)));
        proofs.firing(&mut made, &[("A", "warning")]).await;
        sender.send_modify(|arrivals| arrivals.push(arrival("1", false)));
        proofs.resolved(&made, Instant::now()).await;
        assert!(proofs.rows()[0].resolved_s.is_some());
        let problems = proofs.problems(&[("B".to_owned(), "critical".to_owned())]);
        assert!(problems[0].contains("came to page"), "{problems:?}");
        assert!(
            problems[1].contains("no fault is made for B"),
            "{problems:?}"
        );
    }
}
