//! The page of what was seen.

use std::fmt::Write as _;

use super::dashboards::{Found, Panel};
use super::proofs::Row;
use super::render::TIME_FACTOR;

const HEAD: &str = "\
# Alerts and dashboards, proven

<!-- Made by `make alerts`; do not edit. -->

Producer, two workers, RabbitMQ, InfluxDB 1.x behind a front in the shape of the v2 API, Prometheus
and Alertmanager ran as processes of their own, with `deploy/prometheus` and `deploy/alertmanager` as
they are shipped but for this: ";

/// The tables.
pub(super) fn page(rows: &[Row], panels: &[Panel], problems: &[String]) -> String {
    let mut page = String::from(HEAD);
    let _ = write!(
        page,
        "every time in them (scrapes, `for`, windows, groups) is divided\n\
         by {TIME_FACTOR}, with the thresholds that are times; counts of messages by 100; queue and spool hold\n\
         {} MiB at most, and the rules about their bytes say 80 % of that; addresses are those of the run.\n\
         The simulated home fires events all the time.\n\n\
         Seconds are of the shortened run: from the fault until a web hook had the alert, at the\n\
         receiver that `routes.test` names, and from the end of the fault until it had the resolution\n\
         (which waits for the windows, for the backlog, and for Alertmanager's group interval).\n\n",
        super::render::QUEUE_BYTES_MAX >> 20,
    );
    page.push_str(
        "| alert | severity | fault | receiver | firing after, s | resolved after, s |\n\
         |---|---|---|---|---:|---:|\n",
    );
    for row in rows {
        let (name, severity) = row.alert;
        let seconds = |seconds: Option<f64>| match seconds {
            Some(seconds) => format!("{seconds:.0}"),
            None => "not seen".to_owned(),
        };
        let _ = writeln!(
            page,
            "| {name} | {severity} | {} | {} | {} | {} |",
            row.fault,
            row.receiver,
            seconds(row.firing_s),
            seconds(row.resolved_s)
        );
    }
    page.push_str(
        "\n## Panels\n\n\
         Every query of `deploy/grafana`, asked of the same Prometheus and InfluxDB after the faults, over\n\
         the whole run: how many series had a value, and how many of these were not 0 all the time. A panel\n\
         with several queries has a number for each.\n\n\
         | dashboard | panel | series | not always 0 |\n|---|---|---:|---:|\n",
    );
    for panel in panels {
        let sums = |count: fn(&Found) -> usize| match &panel.series {
            Ok(all) => {
                let counts: Vec<String> =
                    all.iter().map(|found| count(found).to_string()).collect();
                counts.join(" + ")
            }
            Err(words) => words.replace('|', "\\|"),
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            panel.dashboard,
            panel.title.replace('|', "\\|"),
            sums(|found| found.series),
            sums(|found| found.not_zero)
        );
    }
    if !problems.is_empty() {
        page.push_str("\n## What was not as it should be\n\n");
        for problem in problems {
            let _ = writeln!(page, "- {problem}");
        }
    }
    page
}
