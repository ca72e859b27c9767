//! `loadtest report FOLDER`: the reliability page, made of the reports of drills.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

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

/// Makes the page of the reports in a folder, in the order of the faults' names.
///
/// # Errors
/// When a report cannot be read.
pub(super) fn of_folder(folder: &Path, faults: &[&str]) -> anyhow::Result<String> {
    Ok(page(&read(folder, faults)?))
}

/// The reports of a folder in the order of the reference, mode queue first.
fn read(folder: &Path, faults: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut reports = Vec::new();
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let report: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        ensure!(
            report["drill"].is_string(),
            "{} is not the report of a drill",
            path.display()
        );
        reports.push(report);
    }
    reports.sort_by_key(|report| {
        let name = report["drill"].as_str();
        let place = faults.iter().position(|fault| Some(*fault) == name);
        let mode = report["mode"].as_str().unwrap_or_default().to_owned();
        (mode != "queue", mode, place.unwrap_or(usize::MAX))
    });
    Ok(reports)
}

fn page(reports: &[Value]) -> String {
    let mut page = HEAD.to_owned();
    let machines: std::collections::BTreeSet<&str> = reports
        .iter()
        .filter_map(|report| report["machine"].as_str())
        .collect();
    for machine in machines {
        let _ = writeln!(page, "\nMachine: {machine}.");
    }
    let mut mode = "";
    for report in reports {
        let this = report["mode"].as_str().unwrap_or_default();
        if this != mode {
            mode = this;
            let _ = write!(
                page,
                "\n## Mode {mode}\n\n\
                 | drill | events | missing | duplicates | dead letters | recovery | spool | queue | |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|---|\n"
            );
        }
        page.push_str(&row(report));
    }
    page.push_str(
        "\n## What is done, and the command\n\n| drill | what is done | command |\n|---|---|---|\n",
    );
    for report in reports {
        let text = |name: &str| {
            report[name]
                .as_str()
                .unwrap_or_default()
                .replace('|', "\\|")
        };
        let _ = writeln!(
            page,
            "| {} ({}) | {} | `{}` |",
            text("drill"),
            text("mode"),
            text("about"),
            text("command")
        );
    }
    page
}

fn row(report: &Value) -> String {
    let name = report["drill"].as_str().unwrap_or_default();
    let reasons: Vec<&str> = report["reasons"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let reasons = reasons.join("; ").replace('|', "\\|");
    if report["verdict"] == "not-possible" {
        return format!("| {name} | | | | | | | | {reasons} |\n");
    }
    let number = |name: &str| match report[name].as_u64() {
        Some(number) => number.to_string(),
        None => "–".to_owned(),
    };
    let recovery = report["recovery_s"]
        .as_f64()
        .map_or("–".to_owned(), |recovery| format!("{recovery:.1} s"));
    let mut verdict = report["verdict"].as_str().unwrap_or_default().to_owned();
    if let Some(lost) = report["lost_reported"].as_u64().filter(|lost| *lost > 0) {
        let _ = write!(verdict, ", {lost} reported as lost");
    }
    if !reasons.is_empty() {
        let _ = write!(verdict, ": {reasons}");
    }
    format!(
        "| {name} | {} | {} | {} | {} | {recovery} | {} | {} | {verdict} |\n",
        number("events_fired"),
        number("missing"),
        number("duplicates"),
        number("dead_lettered"),
        number("spool_events_max"),
        number("queue_depth_max"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_what_was_found_and_what_could_not_be_made() {
        let report = json!({
            "drill": "db-kill", "mode": "queue", "events_fired": 120, "missing": 0, "duplicates": 0,
            "dead_lettered": 0, "recovery_s": 2.25, "spool_events_max": 7, "queue_depth_max": 9,
            "verdict": "pass", "reasons": [], "lost_reported": 0,
        });
        let wanted = "| db-kill | 120 | 0 | 0 | 0 | 2.2 s | 7 | 9 | pass |\n";
        assert_eq!(row(&report), wanted);
        let report = json!({
            "drill": "net-lossy", "verdict": "not-possible", "reasons": ["not possible here: why"],
        });
        assert_eq!(
            row(&report),
            "| net-lossy | | | | | | | | not possible here: why |\n"
        );
    }
}
