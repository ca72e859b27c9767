//! `loadtest report FOLDER`: the reliability page, made of the reports of drills.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::report::{DrillReport, Report, Verdict};

const HEAD: &str = "\
# Reliability

<!-- Made by `make drills`, or by `loadtest report FOLDER` of the reports that are there; do not edit. -->

Each row is one drill: real services and the product's own binaries in their own processes, a
simulated Home Assistant that fires events at a steady rate whatever happens, and one fault in the
middle. The judge is the simulator's ledger: **every** event that it fired, also while the producer
was dead or cut off, must be in the database with its state, on exactly one point of all series, or
be in a dead letter that was read. *Missing* and *duplicates* are by that comparison; the system's
own counters are not asked, but for the events that `producer-spool-full` says it has lost, which
must be exactly the missing ones (without a broker it may be up to a hundredth more: events whose
write was given up unanswered and came through after all).

*Recovery* is from the end of the fault (what was stopped answers again) to the first look, a few a
second, that finds everything stored that was fired half a second before it or earlier, and queue
and spool empty. The simulated home goes on firing meanwhile. *Spool* and *queue* are the most that
was seen: events in the producer's spool, batches in the broker's queue.
";

/// A report, and what only a drill has.
type Drilled = (Report, DrillReport);

/// Makes the page of the reports in a folder, in the order of the faults' names.
///
/// # Errors
/// When a report cannot be read.
pub(super) fn of_folder(folder: &Path, faults: &[&str]) -> anyhow::Result<String> {
    Ok(page(&read(folder, faults)?))
}

/// The reports of a folder in the order of the reference, mode queue first.
fn read(folder: &Path, faults: &[&str]) -> anyhow::Result<Vec<Drilled>> {
    let mut reports = Vec::new();
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let mut report: Report = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a report", path.display()))?;
        let drill = report.drill.take();
        let drill =
            drill.with_context(|| format!("{} is not the report of a drill", path.display()))?;
        reports.push((report, drill));
    }
    reports.sort_by_key(|(report, drill)| {
        let place = faults.iter().position(|fault| *fault == drill.drill);
        let mode = report.mode.clone();
        (mode != "queue", mode, place.unwrap_or(usize::MAX))
    });
    Ok(reports)
}

fn page(reports: &[Drilled]) -> String {
    let mut page = HEAD.to_owned();
    let machines = reports
        .iter()
        .filter_map(|(report, _)| report.machine.as_ref());
    for machine in machines.collect::<BTreeSet<_>>() {
        let _ = writeln!(page, "\nMachine: {machine}.");
    }
    let mut mode = "";
    for (report, drill) in reports {
        if report.mode != mode {
            mode = &report.mode;
            let _ = write!(
                page,
                "\n## Mode {mode}\n\n\
                 | drill | events | missing | duplicates | dead letters | recovery | spool | queue | |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|---|\n"
            );
        }
        page.push_str(&row(report, drill));
    }
    page.push_str(
        "\n## What is done, and the command\n\n| drill | what is done | command |\n|---|---|---|\n",
    );
    for (report, drill) in reports {
        let _ = writeln!(
            page,
            "| {} ({}) | {} | `{}` |",
            drill.drill,
            report.mode,
            drill.about.replace('|', "\\|"),
            drill.command.replace('|', "\\|"),
        );
    }
    page
}

fn row(report: &Report, drill: &DrillReport) -> String {
    let name = &drill.drill;
    let reasons = report.reasons.join("; ").replace('|', "\\|");
    if report.verdict == Verdict::NotPossible {
        return format!("| {name} | | | | | | | | {reasons} |\n");
    }
    let number = |number: Option<u64>| number.map_or("–".to_owned(), |number| number.to_string());
    let recovery = report.recovery_s;
    let recovery = recovery.map_or("–".to_owned(), |recovery| format!("{recovery:.1} s"));
    let mut verdict = report.verdict.as_str().to_owned();
    if drill.lost_reported > 0 {
        let _ = write!(verdict, ", {} reported as lost", drill.lost_reported);
    }
    if !reasons.is_empty() {
        let _ = write!(verdict, ": {reasons}");
    }
    format!(
        "| {name} | {} | {} | {} | {} | {recovery} | {} | {} | {verdict} |\n",
        report.events_fired,
        number(report.missing),
        number(report.duplicates),
        number(report.dead_lettered),
        drill.spool_events_max,
        number(report.queue_depth_max),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn row_of(report: Value) -> String {
        let report: Report = serde_json::from_value(report).unwrap();
        row(&report, report.drill.as_ref().unwrap())
    }

    #[test]
    fn a_row_says_what_was_found_and_what_could_not_be_made() {
        let report = json!({
            "drill": "db-kill", "mode": "queue", "events_fired": 120, "missing": 0, "duplicates": 0,
            "dead_lettered": 0, "recovery_s": 2.25, "spool_events_max": 7, "queue_depth_max": 9,
            "verdict": "pass", "reasons": [], "lost_reported": 0,
        });
        let wanted = "| db-kill | 120 | 0 | 0 | 0 | 2.2 s | 7 | 9 | pass |\n";
        assert_eq!(row_of(report), wanted);
        let report = json!({
            "drill": "net-lossy", "verdict": "not-possible", "reasons": ["not possible here: why"],
        });
        assert_eq!(
            row_of(report),
            "| net-lossy | | | | | | | | not possible here: why |\n"
        );
    }
}
