//! The page of what was seen.

use std::fmt::Write as _;

use loadtest_report::{Report, Verdict};

use super::dashboards::{Found, Panel};
use super::proofs::Row;
use super::proven::Proven;
use super::quiet::Quiet;
use super::render::{Scale, TIME_FACTOR};

const HEAD: &str = "\
# Alerts and dashboards, proven

<!-- Made by `make alerts`; do not edit. -->

Producer, workers, RabbitMQ, InfluxDB 1.x behind a front in the shape of the v2 API, Prometheus
and Alertmanager ran as processes of their own, with `deploy/prometheus` and `deploy/alertmanager` as
they are shipped but for this: ";

/// The tables.
pub(super) fn page(quiet: Option<&Quiet>, proven: Option<&Proven>, problems: &[String]) -> String {
    let mut page = String::from(HEAD);
    let _ = write!(
        page,
        "every time in them (scrapes, `for`, windows, groups) is divided\n\
         by {TIME_FACTOR}; addresses are those of the run.\n\n\
         Faults: the simulated home fires events all the time; how long an event may wait is divided like\n\
         the times, counts of messages by {}; the queue holds {} MiB at most, the spool {}, and the rules\n\
         about their bytes say 80 % of that.\n\n\
         Nothing wrong: three workers, a steady load, and every worker in turn ended by SIGTERM and started\n\
         again; counts and bytes are divided by {}, like the windows in which they come together, and how\n\
         long an event may wait is what is shipped. With every `for` so much shorter these rules fire\n\
         sooner than the shipped ones.\n\n\
         Seconds are of the shortened run: from the fault until a web hook had the alert, at the\n\
         receiver that `routes.test` names, and from the end of the fault until it had the resolution\n\
         (which waits for the windows, for the backlog, and for Alertmanager's group interval).\n\n",
        Scale::FAULTS.messages_factor,
        Scale::FAULTS.queue_bytes_max >> 20,
        Scale::FAULTS.spool_bytes_max >> 20,
        Scale::QUIET.messages_factor,
    );
    page.push_str(
        "| alert | severity | fault | receiver | firing after, s | resolved after, s |\n\
         |---|---|---|---|---:|---:|\n",
    );
    if let Some(quiet) = quiet {
        row_of_quiet(&mut page, quiet);
    }
    rows_of_faults(&mut page, proven.map_or(&[], |proven| &proven.rows));
    if let Some(quiet) = quiet {
        figures_of_quiet(&mut page, quiet);
    }
    if let Some(proven) = proven {
        panels(&mut page, &proven.panels);
    }
    if !problems.is_empty() {
        page.push_str("\n## What was not as it should be\n\n");
        for problem in problems {
            let _ = writeln!(page, "- {problem}");
        }
    }
    page
}

fn row_of_quiet(page: &mut String, quiet: &Quiet) {
    let mut alerts = quiet.heard.received.clone();
    alerts.extend(quiet.heard.fired.iter().cloned());
    alerts.dedup();
    let alerts = match alerts.as_slice() {
        [] => "no alert".to_owned(),
        some => some.join(", "),
    };
    let _ = writeln!(
        page,
        "| {alerts} | – | nothing wrong: {} workers restarted in turn by SIGTERM under {} events/s, {:.0} s \
         | – | – | – |",
        quiet.report.workers, quiet.report.rate, quiet.report.seconds,
    );
}

fn figures_of_quiet(page: &mut String, quiet: &Quiet) {
    let report = &quiet.report;
    let number =
        |value: Option<u64>| value.map_or("not known".to_owned(), |value| value.to_string());
    let list = |alerts: &[String]| match alerts {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    let verdict = match report.verdict {
        Verdict::Pass => "pass",
        _ => "fail",
    };
    page.push_str(
        "\n## Nothing wrong\n\nA settled batch that comes again is acknowledged twice, and fails the run. The broker's own mark\n\
         \"redelivered\" says less: a quorum queue also gives it to a batch that was on its way to a worker\n\
         when that cancelled, and that nobody saw. Alerts: at the web hook, and `ALERTS` of Prometheus;\n\
         pending is one whose time (`for`) was not up before its cause was gone.\n\n\
         | what | |\n|---|---|\n",
    );
    let rows = [
        ("events sent", report.events_sent.to_string()),
        ("verdict of the audit", verdict.to_owned()),
        ("missing", number(report.missing)),
        ("duplicates", number(report.duplicates)),
        ("dead letters", number(report.dead_lettered)),
        (
            "batches that the broker marked as redelivered",
            number(report.redelivered),
        ),
        (
            "settled batches that came again",
            number(report.redelivered_settled),
        ),
        ("workers ended by SIGTERM", restarts(report)),
        ("alerts at the web hook", list(&quiet.heard.received)),
        ("alerts firing in Prometheus", list(&quiet.heard.fired)),
        (
            "alerts pending in Prometheus at some time",
            list(&quiet.heard.pending),
        ),
    ];
    for (what, value) in rows {
        let _ = writeln!(page, "| {what} | {value} |");
    }
}

fn restarts(report: &Report) -> String {
    let exits = report.faults.iter().flat_map(|fault| &fault.exits);
    let words: Vec<String> = exits
        .map(|exit| match exit.exit_code {
            Some(code) => format!("{} exit {code}", exit.process),
            None => format!("{} killed", exit.process),
        })
        .collect();
    words.join(", ")
}

fn rows_of_faults(page: &mut String, rows: &[Row]) {
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
}

fn panels(page: &mut String, panels: &[Panel]) {
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
}
