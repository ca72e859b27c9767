//! Tables and figures of a report's page.

use std::fmt::Write as _;

use serde_json::Value;

use crate::page::markup::{ROLES, escape, figure, text};

const STARTS_SHOWN: usize = 6;

/// Cases side by side: what a decision is made by.
pub(super) fn matrix(page: &mut String, cases: &[Value]) {
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
pub(super) fn growth(page: &mut String, growth: &Value) {
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

pub(super) fn figures(page: &mut String, report: &Value) {
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
        ("settled batches again", "/redelivered_settled", 0),
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
        ("batches queued at most", "/queue_depth_max", 0),
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
        // Those of broker and database stand beside the processes' own.
        let of_role = |name: &str| {
            let own = number(&format!("/{role}/{name}"));
            own.or(number(&format!("/{role}_{name}")))
        };
        let (cpu_s, of_load) = (of_role("cpu_s"), of_role("cpu_s_load"));
        let events = of_load.and(number("/load_events")).or(sent);
        if let (Some(cpu_s), Some(events)) = (of_load.or(cpu_s), events) {
            let per_million = figure(Some(cpu_s * 1e6 / events), 1);
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
        if let Some(rss_mb) = of_role("rss_mb_max") {
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

pub(super) fn steps(page: &mut String, report: &Value) {
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
