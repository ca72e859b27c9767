//! One report as one HTML page that needs nothing else: no script, no font, no picture from
//! anywhere. Reports hold text of others (states, errors), so all text is escaped.

mod figures;
mod plots;

use std::fmt::Write as _;

use super::markup::{escape, figure};
use crate::report::{Report, Verdict};
use figures::{figures, growth, matrix, steps};
use plots::{backlog, plots};

const STYLE: &str = include_str!("style.css");

/// The page.
pub(crate) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<title>{0} – load test</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>{0} {1}</h1>\n<p class=\"about\">{2}</p>\n",
        escape(&report.scenario),
        verdict(report.verdict),
        about(report)
    );
    for (lines, class) in [(&report.reasons, "reason"), (&report.notes, "note")] {
        for line in lines {
            let _ = writeln!(page, "<p class=\"{class}\">{}</p>", escape(line));
        }
    }
    if report.cases.is_empty() {
        body(&mut page, report);
    } else {
        matrix(&mut page, &report.cases);
        if let Some(by_role) = &report.extra.growth {
            growth(&mut page, by_role);
        }
        for case in &report.cases {
            let name = escape(case.case.as_deref().unwrap_or_default());
            let _ = writeln!(page, "<h2>{name} {}</h2>", verdict(case.verdict));
            body(&mut page, case);
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn verdict(verdict: Verdict) -> String {
    let verdict = verdict.as_str();
    format!("<span class=\"verdict {verdict}\">{verdict}</span>")
}

fn about(report: &Report) -> String {
    let (workers, homes) = (report.workers, report.homes);
    let mut parts = vec![
        format!("mode {}", report.mode),
        format!("sink {}", report.sink),
    ];
    if homes > 1 {
        parts.push(format!("{homes} homes"));
    }
    if workers > 0 {
        parts.push(format!("{workers} workers"));
    }
    parts.extend(report.machine.clone());
    if let Some(drill) = &report.drill {
        parts.extend([drill.about.clone(), drill.command.clone()]);
    }
    parts.extend(
        report
            .extra
            .ramp
            .as_ref()
            .map(|ramp| ramp.criterion.clone()),
    );
    escape(&parts.join(" · "))
}

fn body(page: &mut String, report: &Report) {
    figures(page, report);
    faults(page, report);
    if let Some(of_workers) = &report.extra.backlog {
        backlog(page, of_workers);
    }
    steps(page, report);
    plots(page, report);
}

fn faults(page: &mut String, report: &Report) {
    if report.faults.is_empty() {
        return;
    }
    page.push_str("<p class=\"faults\">Shaded: ");
    for fault in &report.faults {
        let until = fault.until_s;
        let until = until.map_or(String::new(), |until| format!("–{until:.1}"));
        let _ = write!(
            page,
            "<b>{}</b> {}{until} s; ",
            escape(&fault.fault),
            figure(Some(fault.at_s), 1)
        );
    }
    page.push_str("</p>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn report() -> Value {
        let sample = |t: f64, fired: u64| {
            json!({"t_s": t, "fired": fired, "sent": fired, "stored": fired, "queue_depth": 3,
                "p50_ms": 2.0, "p95_ms": 3.0, "p99_ms": 40.0,
                "usage": {"producer": {"cpus": 0.2, "rss_mb": 20.0}}})
        };
        json!({
            "scenario": "burst", "mode": "queue", "sink": "influxdb", "verdict": "fail",
            "events_sent": 20, "events_per_s": 10.0, "missing": 1, "latency_ms": {"p99": 40.0},
            "producer": {"cpu_s": 0.1, "rss_mb_max": 20.0}, "reasons": ["<script>alert(1)</script>"],
            "faults": [{"fault": "ha-burst", "at_s": 0.5, "until_s": 1.5}],
            "series": [sample(0.0, 0), sample(1.0, 10), sample(2.0, 20)],
        })
    }

    fn page_of(report: Value) -> String {
        page(&serde_json::from_value(report).unwrap())
    }

    #[test]
    fn the_page_shows_the_plots_and_marks_the_faults() {
        let page = page_of(report());
        for title in [
            "Events a second",
            "Source time to stored",
            "Waiting",
            "Memory of",
        ] {
            assert!(page.contains(title), "{title}");
        }
        assert!(
            !page.contains("<figcaption>backlog_seconds"),
            "nobody said any"
        );
        assert!(page.contains("<title>ha-burst</title>"));
        assert!(page.contains("class=\"verdict fail\""));
    }

    #[test]
    fn the_page_needs_nothing_else_and_text_is_no_markup() {
        let page = page_of(report());
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"));
        for word in ["http://", "https://", "src=", "url(", "@import"] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn cases_stand_side_by_side() {
        let mut case = report();
        case["case"] = "1 worker".into();
        case["bare"] = json!({"steps": [{"rate": 77.0, "holds": true, "reasons": []}]});
        case["loadtest"] = json!({"cpu_s_load": 0.01});
        case["starts"] = json!([{"process": "worker-1", "seconds": 0.25}]);
        case["backlog"] = json!({"events": 5, "drain_s": 2.0, "drain_events_per_s": 2.5,
            "estimates": [{"at_s": 0.5, "backlog_seconds": 2.0, "took_s": 1.5}]});
        let growth = json!({"worker": {"cpu_s_per_million": [8.0, 4.0], "ratio": 0.5}});
        let page = page_of(
            json!({"scenario": "backlog", "verdict": "pass", "cases": [case], "growth": growth}),
        );
        for wanted in [
            "The bare chain</h3>",
            "<th>77</th>",
            "loadtest, CPU s per million</dt><dd>500.0",
            "worker-1, start to ready s</dt><dd>0.25",
            "<td>8.0</td><td>4.0</td><td>0.50</td>",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
        assert!(page.contains("<th>1 worker</th>") && page.contains("<h2>1 worker"));
        assert!(page.contains("what the workers said"));
    }
}
