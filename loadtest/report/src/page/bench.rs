//! `loadtest report --bench`: what criterion has measured, in one table.
//!
//! Criterion keeps, for each benchmark, `new/benchmark.json` (its name, and how many elements one
//! pass has) and `new/estimates.json` (nanoseconds a pass).

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Group, function and elements are three levels below the folder at most.
const DEPTH_MAX: u32 = 5;

struct Row {
    name: String,
    elements: f64,
    /// Of a pass: median, and the ends of its confidence interval.
    median_ns: f64,
    low_ns: f64,
    high_ns: f64,
}

/// The table of all benchmarks below the folder.
///
/// # Errors
/// When there is none, or one cannot be read.
pub(super) fn table(folder: &Path) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    collect(folder, DEPTH_MAX, &mut rows)?;
    ensure!(
        !rows.is_empty(),
        "{} holds no results of criterion; run cargo bench first",
        folder.display()
    );
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:<width$} {:>12} {:>12} {:>17}\n",
        "benchmark", "events/s", "ns an event", "(95 % interval)"
    );
    for row in rows {
        let [median, low, high] =
            [row.median_ns, row.low_ns, row.high_ns].map(|ns| ns / row.elements);
        let _ = writeln!(
            text,
            "{:<width$} {:>12.0} {median:>12.1} {:>17}",
            row.name,
            1e9 / median,
            format!("({low:.1}–{high:.1})")
        );
    }
    Ok(text)
}

fn collect(folder: &Path, depth: u32, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder);
    for entry in entries.with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if !path.is_dir() || depth == 0 {
            continue;
        }
        if path.ends_with("new") && path.join("benchmark.json").is_file() {
            rows.push(row(
                &read(&path.join("benchmark.json"))?,
                &read(&path.join("estimates.json"))?,
            )?);
        } else {
            collect(&path, depth - 1, rows)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn row(benchmark: &Value, estimates: &Value) -> anyhow::Result<Row> {
    let name = benchmark["title"]
        .as_str()
        .or(benchmark["full_id"].as_str());
    let name = name.context("a benchmark without a name")?.to_owned();
    let ns = |path: &str| {
        let found = estimates.pointer(path).and_then(Value::as_f64);
        found.with_context(|| format!("{path} of {name}"))
    };
    Ok(Row {
        elements: benchmark["throughput"]["Elements"].as_f64().unwrap_or(1.0),
        median_ns: ns("/median/point_estimate")?,
        low_ns: ns("/median/confidence_interval/lower_bound")?,
        high_ns: ns("/median/confidence_interval/upper_bound")?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pass_is_divided_by_its_elements() {
        let folder = tempfile::tempdir().unwrap();
        for (group, ns) in [("batch of 100", 5_000.0), ("event", 10_000.0)] {
            let new = folder.path().join(group).join("decode").join("new");
            std::fs::create_dir_all(&new).unwrap();
            let benchmark =
                json!({"title": format!("{group}/decode"), "throughput": {"Elements": 100}});
            let interval = json!({"lower_bound": ns, "upper_bound": ns * 2.0});
            let estimates =
                json!({"median": {"point_estimate": ns, "confidence_interval": interval}});
            std::fs::write(new.join("benchmark.json"), benchmark.to_string()).unwrap();
            std::fs::write(new.join("estimates.json"), estimates.to_string()).unwrap();
        }
        let table = table(folder.path()).unwrap();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            [
                "batch",
                "of",
                "100/decode",
                "20000000",
                "50.0",
                "(50.0–100.0)"
            ]
        );
        assert_eq!(
            lines[2],
            ["event/decode", "10000000", "100.0", "(100.0–200.0)"]
        );
        let empty = tempfile::tempdir().unwrap();
        assert!(
            super::table(empty.path())
                .unwrap_err()
                .to_string()
                .contains("cargo bench")
        );
    }
}
