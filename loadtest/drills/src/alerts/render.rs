//! The files of the deployment as a short run needs them: every time a fifteenth, limits to match,
//! and addresses of this run. Whatever else stands in them stays as it is shipped.

use std::path::Path;

use anyhow::{Context as _, ensure};

/// All times in the files are divided by this; 15 s between scrapes become 1 s.
pub(super) const TIME_FACTOR: u64 = 15;
/// Of the queue of batches while faults are made; the shipped policy says 4 GiB.
pub(super) const QUEUE_BYTES_MAX: u64 = 32 << 20;
/// Of the spool while faults are made, where batches are compressed; the default is 1 GiB.
pub(super) const SPOOL_BYTES_MAX: u64 = 8 << 20;

/// How the limits of the rules that are no times become smaller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// Counts of messages are divided by this.
    pub(super) messages_factor: u64,
    /// How long an event may wait is divided by this.
    pub(super) waiting_factor: u64,
    /// What the queue of batches holds.
    pub(super) queue_bytes_max: u64,
    /// What a spool holds.
    pub(super) spool_bytes_max: u64,
}

impl Scale {
    /// What sixty events a second can reach in minutes.
    pub(super) const FAULTS: Self = Self {
        messages_factor: 100,
        waiting_factor: TIME_FACTOR,
        queue_bytes_max: QUEUE_BYTES_MAX,
        spool_bytes_max: SPOOL_BYTES_MAX,
    };
    /// Counts like the windows in which they come together, so that at one rate the rules mean the
    /// same; how long an event may wait as it is shipped, because nothing became faster.
    pub(super) const QUIET: Self = Self {
        messages_factor: TIME_FACTOR,
        waiting_factor: 1,
        queue_bytes_max: (4 << 30) / TIME_FACTOR,
        spool_bytes_max: (1 << 30) / TIME_FACTOR,
    };
}

pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| {
        format!(
            "reading {}; --deploy names the folder deploy of the repository",
            path.display()
        )
    })
}

/// The rules. A limit that is no longer there as it is known here is an error: it would not be
/// scaled, and the alert not be provable.
pub(super) fn rules(text: &str, scale: &Scale) -> anyhow::Result<String> {
    let share = |bytes: u64| format!("> {}\n", bytes / 5 * 4);
    let messages = |count: u64| format!("> {}\n", count / scale.messages_factor);
    let limits = [
        ("> 20000\n", messages(20_000)),
        ("> 1000\n", messages(1_000)),
        ("> 3435973836\n", share(scale.queue_bytes_max)),
        ("> 858993459\n", share(scale.spool_bytes_max)),
        (
            "_seconds > 60\n",
            format!("_seconds > {}\n", 60 / scale.waiting_factor),
        ),
        (
            "_seconds >= 300\n",
            format!("_seconds >= {}\n", 300 / scale.waiting_factor),
        ),
        ("300 * (\n", format!("{} * (\n", 300 / scale.waiting_factor)),
    ];
    let mut rendered = text.to_owned();
    for (shipped, ours) in limits {
        let found = rendered.matches(shipped).count();
        ensure!(
            found == 1,
            "the rules hold {:?} {found} times and not once; tell alerts/render.rs of the new limit",
            shipped.trim()
        );
        rendered = rendered.replace(shipped, &ours);
    }
    Ok(shorter(&rendered))
}

/// Every duration of the text (`30s`, `5m`, `12h`) by the factor, in milliseconds.
pub(super) fn shorter(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rendered = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_part) {
        let (before, from) = rest.split_at(begin);
        let (word, behind) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        rendered.push_str(before);
        match duration_ms(word) {
            Some(ms) => rendered.push_str(&format!("{}ms", ms / TIME_FACTOR)),
            None => rendered.push_str(word),
        }
        rest = behind;
    }
    rendered + rest
}

fn duration_ms(word: &str) -> Option<u64> {
    let (number, unit_ms) = match word.as_bytes().last()? {
        b's' => (word.strip_suffix('s')?, 1_000),
        b'm' => (word.strip_suffix('m')?, 60_000),
        b'h' => (word.strip_suffix('h')?, 3_600_000),
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit_ms)
}

/// Alertmanager's configuration, every receiver at this run's web hook, by its name.
pub(super) fn alertmanager(text: &str, receiver_port: u16) -> anyhow::Result<String> {
    let (mut receiver, mut hooks) = ("", 0);
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("  - name: ") {
            receiver = name;
        }
        match line.split_once("url: http") {
            Some((before, _)) => {
                hooks += 1;
                lines.push(format!(
                    "{before}url: http://127.0.0.1:{receiver_port}/{receiver}"
                ));
            }
            None => lines.push(shorter(line)),
        }
    }
    ensure!(hooks > 0, "Alertmanager's configuration has no web hook");
    Ok(lines.join("\n") + "\n")
}

/// Where Prometheus finds what it reads.
#[derive(Debug)]
pub(super) struct Places<'a> {
    pub(super) rules: &'a str,
    /// `host:port`.
    pub(super) alertmanager: &'a str,
    /// The addresses of a job, each `host:port`.
    pub(super) targets: &'a [(&'a str, Vec<String>)],
}

/// Prometheus' configuration. Jobs, paths and parameters stay; targets that are found by name in
/// Compose are given.
pub(super) fn prometheus(text: &str, places: &Places<'_>) -> anyhow::Result<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut job = String::new();
    // Of a block that is being left out.
    let mut deeper_than = None;
    let indent = |line: &str| line.len() - line.trim_start().len();
    for line in text.lines() {
        if let Some(block) = deeper_than {
            if indent(line) > block && !line.trim().is_empty() {
                continue;
            }
            deeper_than = None;
        }
        if let Some(name) = line.trim().strip_prefix("- job_name: ") {
            name.clone_into(&mut job);
        }
        if line.trim() == "dns_sd_configs:" || (line.trim() == "static_configs:" && !job.is_empty())
        {
            let found = places.targets.iter().find(|(name, _)| *name == job);
            let (_, targets) = found.with_context(|| format!("no target for the job {job}"))?;
            lines.push(format!(
                "{:width$}static_configs: [{{ targets: {targets:?} }}]",
                "",
                width = indent(line)
            ));
            deeper_than = Some(indent(line));
            continue;
        }
        let line = line
            .replace("/etc/prometheus/alerts.rules.yml", places.rules)
            .replace("alertmanager:9093", places.alertmanager);
        // Paths of this run may look like durations.
        let kept = line.contains(places.rules) || line.contains(places.alertmanager);
        lines.push(if kept { line } else { shorter(&line) });
    }
    Ok(lines.join("\n") + "\n")
}

/// The alerts of the rules: name and severity.
pub(super) fn alerts(rules: &str) -> Vec<(String, String)> {
    let mut alerts = Vec::new();
    let mut name = None;
    for line in rules.lines() {
        let line = line.trim();
        if let Some(alert) = line.strip_prefix("- alert: ") {
            name = Some(alert.to_owned());
        } else if let Some(severity) = line.strip_prefix("severity: ")
            && let Some(name) = name.take()
        {
            alerts.push((name, severity.to_owned()));
        }
    }
    alerts
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = include_str!("../../../../deploy/prometheus/alerts.rules.yml");

    #[test]
    fn times_become_shorter_and_nothing_else_does() {
        assert_eq!(
            shorter("a_5m[5m] offset 1h for: 30s 0s, 20000 of 12h5 'x'\n"),
            "a_5m[20000ms] offset 240000ms for: 2000ms 0ms, 20000 of 12h5 'x'\n"
        );
    }

    #[test]
    fn every_limit_of_the_shipped_rules_is_known() {
        let rendered = rules(RULES, &Scale::FAULTS).unwrap();
        for unscaled in ["5m", "15m", "1h", "3435973836", "858993459", "20000\n"] {
            let words = || rendered.split(|c: char| !c.is_ascii_alphanumeric() && c != '\n');
            assert!(!words().any(|word| word == unscaled), "{unscaled}");
        }
        assert!(rendered.contains("ha_ingestor:oldest_unwritten_event_seconds >= 20\n"));
        assert!(rules("expr: x > 1\n", &Scale::FAULTS).is_err());
        let quiet = rules(RULES, &Scale::QUIET).unwrap();
        assert!(quiet.contains("> 1333\n") && quiet.contains("_seconds > 60\n"));
    }

    #[test]
    fn every_alert_of_the_shipped_rules_is_seen() {
        let found = alerts(RULES);
        assert_eq!(found.len(), RULES.matches("- alert: ").count());
        assert!(found.contains(&("HaIngestorNoConsumers".into(), "critical".into())));
    }

    #[test]
    fn the_shipped_configurations_lead_to_this_run() {
        let shipped = include_str!("../../../../deploy/alertmanager/alertmanager.yml");
        let rendered = alertmanager(shipped, 1234).unwrap();
        assert!(rendered.contains("url: http://127.0.0.1:1234/working-hours\n"));
        assert!(!rendered.contains("pager.invalid"));
        let shipped = include_str!("../../../../deploy/prometheus/prometheus.yml");
        let jobs = shipped
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- job_name: "));
        let targets: Vec<_> = jobs.map(|job| (job, vec!["here:1".to_owned()])).collect();
        let places = Places {
            rules: "/run/rules.yml",
            alertmanager: "here:2",
            targets: &targets,
        };
        let rendered = prometheus(shipped, &places).unwrap();
        assert!(!rendered.contains("dns_sd_configs") && !rendered.contains("- names"));
        assert!(rendered.contains("    static_configs: [{ targets: [\"here:1\"] }]\n"));
        assert!(rendered.contains("scrape_interval: 1000ms"), "{rendered}");
        assert!(rendered.contains("family: [queue_coarse_metrics, queue_metrics]"));
        assert!(rendered.contains("- targets: [\"here:2\"]"), "{rendered}");
    }
}
