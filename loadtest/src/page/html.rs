//! One report as one HTML page that needs nothing else: no script, no font, no picture from
//! anywhere. Reports hold text of others (states, errors), so all text is escaped.

use std::fmt::Write as _;

use serde_json::Value;

use super::plot::{Band, Line, Plot};

const STARTS_SHOWN: usize = 6;
const STYLE: &str = include_str!("style.css");
const ROLES: [&str; 5] = ["producer", "worker", "broker", "database", "loadtest"];

/// The page.
pub(crate) fn page(report: &Value) -> String {
    let scenario = text(report, "scenario");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<title>{0} – load test</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>{0} {1}</h1>\n<p class=\"about\">{2}</p>\n",
        escape(&scenario),
        verdict(report),
        about(report)
    );
    reasons(&mut page, report);
    match report["cases"].as_array() {
        Some(cases) if !cases.is_empty() => {
            matrix(&mut page, cases);
            growth(&mut page, &report["growth"]);
            for case in cases {
                let name = text(case, "case");
                let _ = writeln!(page, "<h2>{} {}</h2>", escape(&name), verdict(case));
                body(&mut page, case);
            }
        }
        _ => body(&mut page, report),
    }
    page.push_str("</body></html>\n");
    page
}

/// Text that is no markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn verdict(report: &Value) -> String {
    let verdict = escape(&text(report, "verdict"));
    format!("<span class=\"verdict {verdict}\">{verdict}</span>")
}

fn about(report: &Value) -> String {
    let workers = report["workers"].as_u64().unwrap_or_default();
    let homes = report["homes"].as_u64().unwrap_or(1);
    let mut parts = vec![
        format!("mode {}", text(report, "mode")),
        format!("sink {}", text(report, "sink")),
    ];
    if homes > 1 {
        parts.push(format!("{homes} homes"));
    }
    if workers > 0 {
        parts.push(format!("{workers} workers"));
    }
    for name in ["machine", "about", "command", "criterion"] {
        parts.extend(report[name].as_str().map(str::to_owned));
    }
    escape(&parts.join(" · "))
}

fn reasons(page: &mut String, report: &Value) {
    for (name, class) in [("reasons", "reason"), ("notes", "note")] {
        for line in report[name].as_array().into_iter().flatten() {
            let line = escape(line.as_str().unwrap_or_default());
            let _ = writeln!(page, "<p class=\"{class}\">{line}</p>");
        }
    }
}

/// A figure with so many digits behind the point, or a dash.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}

/// Cases side by side: what a decision is made by.
fn matrix(page: &mut String, cases: &[Value]) {
    page.push_str(
        "<table><thead><tr><th></th><th>sent</th><th>stored</th><th>missing</th>\
         <th>duplicates</th><th>p50 ms</th><th>p95 ms</th><th>p99 ms</th><th>max ms</th>\
         <th>CPU s per million: producer</th><th>worker</th><th>broker</th><th>database</th>\
         <th>MB at most: producer</th><th>worker</th><th>drain s</th></tr></thead><tbody>\n",
    );
    for case in cases {
        let number = |path: &str| case.pointer(path).and_then(Value::as_f64);
        let sent = number("/events_sent").filter(|sent| *sent > 0.0);
        let per_million = |path: &str| Some(number(path)? * 1e6 / sent?);
        let _ = write!(page, "<tr><th>{}</th>", escape(&text(case, "case")));
        for path in ["/events_sent", "/events_stored", "/missing", "/duplicates"] {
            let _ = write!(page, "<td>{}</td>", figure(number(path), 0));
        }
        for name in ["p50", "p95", "p99", "max"] {
            let value = number(&format!("/latency_ms/{name}"));
            let _ = write!(page, "<td>{}</td>", figure(value, 1));
        }
        for path in [
            "/producer/cpu_s",
            "/worker/cpu_s",
            "/broker_cpu_s",
            "/database_cpu_s",
        ] {
            let _ = write!(page, "<td>{}</td>", figure(per_million(path), 1));
        }
        for path in ["/producer/rss_mb_max", "/worker/rss_mb_max"] {
            let _ = write!(page, "<td>{}</td>", figure(number(path), 0));
        }
        let drain = number("/backlog/drain_s").or(number("/drain_s"));
        let _ = writeln!(page, "<td>{}</td></tr>", figure(drain, 2));
    }
    page.push_str("</tbody></table>\n");
}

/// What an event costs at one rate and at a higher one.
fn growth(page: &mut String, growth: &Value) {
    let Some(roles) = growth.as_object() else {
        return;
    };
    page.push_str(
        "<table><thead><tr><th>CPU s per million</th><th>first rate</th><th>second rate</th>\
         <th>ratio</th></tr></thead><tbody>\n",
    );
    for (role, row) in roles {
        let number = |path: &str| row.pointer(path).and_then(Value::as_f64);
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(role),
            figure(number("/cpu_s_per_million/0"), 1),
            figure(number("/cpu_s_per_million/1"), 1),
            figure(number("/ratio"), 2),
        );
    }
    page.push_str("</tbody></table>\n");
}

fn body(page: &mut String, report: &Value) {
    figures(page, report);
    faults(page, report);
    backlog(page, &report["backlog"]);
    steps(page, report);
    plots(page, report);
}

fn figures(page: &mut String, report: &Value) {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
    let sent = number("/events_sent").filter(|sent| *sent > 0.0);
    let load_s = number("/load_s").filter(|load_s| *load_s > 0.0);
    let mut shown = Vec::new();
    for (name, path, digits) in [
        ("events sent", "/events_sent", 0),
        ("stored", "/events_stored", 0),
        ("missing", "/missing", 0),
        ("duplicates", "/duplicates", 0),
        ("dead letters", "/dead_lettered", 0),
        ("settled frames again", "/redelivered_settled", 0),
        ("events/s", "/events_per_s", 0),
        ("bare chain, events/s", "/bare_events_per_s", 0),
        (
            "bare chain with any delay, events/s",
            "/bare_unbounded_events_per_s",
            0,
        ),
        ("of the bare chain", "/ratio", 2),
        ("p50 ms", "/latency_ms/p50", 1),
        ("p95 ms", "/latency_ms/p95", 1),
        ("p99 ms", "/latency_ms/p99", 1),
        ("max ms", "/latency_ms/max", 1),
        ("recovery s", "/recovery_s", 1),
        ("drain s", "/drain_s", 2),
        ("frames queued at most", "/queue_depth_max", 0),
        (
            "backlog_seconds to what it took, median",
            "/backlog/estimate/median",
            2,
        ),
        ("the same, worst", "/backlog/estimate/worst", 2),
    ] {
        if let Some(value) = number(path) {
            shown.push((name.to_owned(), figure(Some(value), digits)));
        }
    }
    for role in ROLES {
        let cpu_s = number(&format!("/{role}/cpu_s")).or(number(&format!("/{role}_cpu_s")));
        let rss_mb =
            number(&format!("/{role}/rss_mb_max")).or(number(&format!("/{role}_rss_mb_max")));
        let of_load = number(&format!("/{role}/cpu_s_load"));
        let of_load = of_load.or(number(&format!("/{role}_cpu_s_load")));
        if let (Some(cpu_s), Some(sent)) = (of_load.or(cpu_s), sent) {
            let per_million = figure(Some(cpu_s * 1e6 / sent), 1);
            shown.push((format!("{role}, CPU s per million"), per_million));
        }
        if let (Some(of_load), Some(load_s)) = (of_load, load_s) {
            let percent = figure(Some(of_load * 100.0 / load_s), 1);
            shown.push((format!("{role}, % of a core"), percent));
        }
        if let Some(ratio) = number(&format!("/{role}/rss_ratio")) {
            let ratio = figure(Some(ratio), 3);
            shown.push((format!("{role}, memory, last third to first"), ratio));
        }
        if let Some(rss_mb) = rss_mb {
            shown.push((format!("{role}, MB at most"), figure(Some(rss_mb), 0)));
        }
    }
    for start in report["starts"]
        .as_array()
        .into_iter()
        .flatten()
        .take(STARTS_SHOWN)
    {
        let name = format!("{}, start to ready s", escape(&text(start, "process")));
        shown.push((name, figure(start["seconds"].as_f64(), 2)));
    }
    page.push_str("<dl>");
    for (name, value) in shown {
        let _ = write!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

fn bands(report: &Value) -> Vec<Band> {
    let faults = report["faults"].as_array().into_iter().flatten();
    let mut bands: Vec<Band> = faults
        .map(|fault| Band {
            name: text(fault, "fault"),
            from: fault["at_s"].as_f64().unwrap_or_default(),
            to: fault["until_s"].as_f64(),
        })
        .collect();
    for step in report["steps"].as_array().into_iter().flatten() {
        bands.push(Band {
            name: format!("{}/s", figure(step["rate"].as_f64(), 0)),
            from: step["at_s"].as_f64().unwrap_or_default(),
            to: None,
        });
    }
    bands
}

fn faults(page: &mut String, report: &Value) {
    let faults = report["faults"].as_array().map_or(&[][..], Vec::as_slice);
    if faults.is_empty() {
        return;
    }
    page.push_str("<p class=\"faults\">Shaded: ");
    for fault in faults {
        let until = fault["until_s"].as_f64();
        let until = until.map_or(String::new(), |until| format!("–{until:.1}"));
        let _ = write!(
            page,
            "<b>{}</b> {}{until} s; ",
            escape(&text(fault, "fault")),
            figure(fault["at_s"].as_f64(), 1)
        );
    }
    page.push_str("</p>\n");
}

fn backlog(page: &mut String, backlog: &Value) {
    let estimates = backlog["estimates"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if !backlog.is_object() {
        return;
    }
    let number = |name: &str| backlog[name].as_f64();
    let _ = writeln!(
        page,
        "<p>{} events in {} s from the start of the workers, {} events/s.</p>",
        figure(number("events"), 0),
        figure(number("drain_s"), 2),
        figure(number("drain_events_per_s"), 0)
    );
    let points = |name: &str| -> Vec<(f64, Option<f64>)> {
        let at = |estimate: &Value| estimate["at_s"].as_f64().unwrap_or_default();
        let estimates = estimates.iter();
        estimates.map(|one| (at(one), one[name].as_f64())).collect()
    };
    let lines = [
        ("backlog_seconds", "what the workers said"),
        ("took_s", "what it took"),
    ];
    let plot = Plot {
        title: "How long it will take, from each moment on",
        unit: "s",
        x_unit: "s since the workers were started",
        lines: lines.map(|(name, words)| line(words, points(name))).into(),
        bands: &[],
        is_log: false,
    };
    page.push_str(&plot.svg());
}

fn line(name: &str, points: Vec<(f64, Option<f64>)>) -> Line {
    Line {
        name: name.to_owned(),
        points,
    }
}

fn steps(page: &mut String, report: &Value) {
    table_of(page, "The product", &report["steps"]);
    table_of(page, "The bare chain", &report["bare"]["steps"]);
}

fn table_of(page: &mut String, whose: &str, steps: &Value) {
    let steps = steps.as_array().map_or(&[][..], Vec::as_slice);
    if steps.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h3>{whose}</h3>");
    page.push_str(
        "<table><thead><tr><th>rate</th><th>sent/s</th><th>p50 ms</th><th>p99 ms</th>\
         <th>not stored at the end</th><th></th></tr></thead><tbody>\n",
    );
    for step in steps {
        let number = |path: &str| step.pointer(path).and_then(Value::as_f64);
        let reasons = step["reasons"].as_array().into_iter().flatten();
        let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
        let words = match reasons.is_empty() {
            true => "holds".to_owned(),
            false => escape(&reasons.join(", ")),
        };
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{words}</td></tr>",
            figure(number("/rate"), 0),
            figure(number("/events_per_s"), 0),
            figure(number("/latency_ms/p50"), 1),
            figure(number("/latency_ms/p99"), 1),
            figure(number("/under_way"), 0),
        );
    }
    page.push_str("</tbody></table>\n");
}

/// The run over time.
fn plots(page: &mut String, report: &Value) {
    let series = report["series"].as_array().map_or(&[][..], Vec::as_slice);
    let bands = bands(report);
    let at = |sample: &Value| sample["t_s"].as_f64().unwrap_or_default();
    let values = |path: &str| -> Vec<(f64, Option<f64>)> {
        let of = |sample: &Value| sample.pointer(path).and_then(Value::as_f64);
        series
            .iter()
            .map(|sample| (at(sample), of(sample)))
            .collect()
    };
    let rates = |path: &str| -> Vec<(f64, Option<f64>)> {
        let counts = values(path);
        let pairs = counts.windows(2).map(|pair| {
            let (before, after) = (pair[0], pair[1]);
            let passed = after.0 - before.0;
            let rate = after.1.zip(before.1).filter(|_| passed > 0.0);
            (
                after.0,
                rate.map(|(after, before)| (after - before) / passed),
            )
        });
        pairs.collect()
    };
    let by_role = |name: &str| -> Vec<Line> {
        let lines = ROLES.map(|role| line(role, values(&format!("/usage/{role}/{name}"))));
        let known = lines.into_iter();
        known
            .filter(|line| line.points.iter().any(|(_, value)| value.is_some()))
            .collect()
    };
    let named = |lines: &[(&str, &str)]| -> Vec<Line> {
        let lines = lines.iter().map(|(path, words)| line(words, values(path)));
        lines
            .filter(|line| line.points.iter().any(|(_, value)| value.is_some()))
            .collect()
    };
    let all = [
        (
            "Events a second",
            "events/s",
            vec![
                line("fired", rates("/fired")),
                line("sent", rates("/sent")),
                line("stored", rates("/stored")),
            ],
            false,
        ),
        (
            "Source time to stored, of the events stored in each second",
            "ms",
            named(&[("/p50_ms", "p50"), ("/p95_ms", "p95"), ("/p99_ms", "p99")]),
            true,
        ),
        (
            "Waiting",
            "frames, events",
            named(&[
                ("/queue_depth", "frames in the queue"),
                ("/spool_events", "events in the spool"),
            ]),
            false,
        ),
        (
            "backlog_seconds",
            "s",
            named(&[("/backlog_seconds", "the largest of the workers'")]),
            false,
        ),
        (
            "Memory of the largest process",
            "MB",
            by_role("rss_mb"),
            false,
        ),
        ("Processors in use", "processors", by_role("cpus"), false),
    ];
    for (title, unit, lines, is_log) in all {
        let plot = Plot {
            title,
            unit,
            x_unit: "s since the first event",
            lines,
            bands: &bands,
            is_log,
        };
        page.push_str(&plot.svg());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    #[test]
    fn the_page_shows_the_plots_and_marks_the_faults() {
        let page = page(&report());
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
        let page = page(&report());
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
        let page = page(
            &json!({"scenario": "backlog", "verdict": "pass", "cases": [case],
            "growth": growth}),
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
