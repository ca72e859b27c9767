//! Scenarios that make several runs.

use anyhow::Context as _;
use loadtest_report::Report;

/// Makes the run of each case, one after the other, and one report of them all.
///
/// # Errors
/// Of the first run that has one; without any case.
pub async fn one_by_one<T>(
    cases: impl IntoIterator<Item = (String, T)>,
    run: impl AsyncFn(&str, T) -> anyhow::Result<Report>,
) -> anyhow::Result<Report> {
    let mut reports = Vec::new();
    for (name, case) in cases {
        let mut report = run(&name, case).await?;
        report.case = Some(name);
        reports.push(report);
    }
    Report::of_cases(reports).context("no case was asked for")
}
