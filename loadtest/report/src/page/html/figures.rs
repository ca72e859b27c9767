//! Tables and figures of a report's page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::extra::{Growth, Step};
use crate::page::figures::FIGURES;
use crate::page::markup::{escape, figure};
use crate::report::Report;
use crate::role::Role;

const STARTS_SHOWN: usize = 6;

/// Cases side by side: what a decision is made by.
pub(super) fn matrix(page: &mut String, cases: &[Report]) {
    page.push_str(
        "<table><thead><tr><th></th><th>sent</th><th>stored</th><th>missing</th>\
         <th>duplicates</th><th>p50 ms</th><th>p95 ms</th><th>p99 ms</th><th>max ms</th>\
         <th>CPU s per million: producer</th><th>worker</th><th>broker</th><th>database</th>\
         <th>MB at most: producer</th><th>worker</th><th>drain s</th></tr></thead><tbody>\n",
    );
    for case in cases {
        let name = escape(case.case.as_deref().unwrap_or_default());
        let _ = write!(page, "<tr><th>{name}</th>");
        let mut cell = |value: Option<f64>, digits| {
            let _ = write!(page, "<td>{}</td>", figure(value, digits));
        };
        for count in [
            Some(case.events_sent),
            case.events_stored,
            case.missing,
            case.duplicates,
        ] {
            cell(count.map(|count| count as f64), 0);
        }
        let latency = case.latency_ms;
        cell(latency.map(|latency| latency.p50), 1);
        cell(latency.map(|latency| latency.p95), 1);
        cell(latency.map(|latency| latency.p99), 1);
        cell(latency.map(|latency| latency.max), 1);
        for role in [Role::Producer, Role::Worker, Role::Broker, Role::Database] {
            let cpu_s = case.role(role).cpu_s.filter(|_| case.events_sent > 0);
            cell(cpu_s.map(|cpu_s| cpu_s * 1e6 / case.events_sent as f64), 1);
        }
        for role in [Role::Producer, Role::Worker] {
            cell(case.role(role).rss_mb_max, 0);
        }
        let backlog = case.extra.backlog.as_ref();
        cell(
            Some(backlog.map_or(case.drain_s, |backlog| backlog.drain_s)),
            2,
        );
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table>\n");
}

/// What an event costs at one rate and at a higher one.
pub(super) fn growth(page: &mut String, growth: &BTreeMap<Role, Growth>) {
    page.push_str(
        "<table><thead><tr><th>CPU s per million</th><th>first rate</th><th>second rate</th>\
         <th>ratio</th></tr></thead><tbody>\n",
    );
    for (role, row) in growth {
        let [less, more] = row.cpu_s_per_million;
        let _ = writeln!(
            page,
            "<tr><th>{}</th><td>{less:.1}</td><td>{more:.1}</td><td>{}</td></tr>",
            role.as_str(),
            figure(row.ratio, 2),
        );
    }
    page.push_str("</tbody></table>\n");
}

pub(super) fn figures(page: &mut String, report: &Report) {
    let sent = Some(report.events_sent as f64).filter(|sent| *sent > 0.0);
    let load_s = report.load_s.filter(|load_s| *load_s > 0.0);
    let mut shown = Vec::new();
    for (name, of, digits) in FIGURES {
        if let Some(value) = of(report) {
            shown.push((name.to_owned(), figure(Some(value), digits)));
        }
    }
    for role in Role::ALL {
        let (name, used) = (role.as_str(), report.role(role));
        let load_events = report.load_events.map(|events| events as f64);
        let events = used.cpu_s_load.and(load_events).or(sent);
        if let (Some(cpu_s), Some(events)) = (used.cpu_s_load.or(used.cpu_s), events) {
            let per_million = figure(Some(cpu_s * 1e6 / events), 1);
            shown.push((format!("{name}, CPU s per million"), per_million));
        }
        if let (Some(of_load), Some(load_s)) = (used.cpu_s_load, load_s) {
            let percent = figure(Some(of_load * 100.0 / load_s), 1);
            shown.push((format!("{name}, % of a core"), percent));
        }
        if used.rss_ratio.is_some() {
            let ratio = figure(used.rss_ratio, 3);
            shown.push((format!("{name}, memory, last third to first"), ratio));
        }
        if used.rss_mb_max.is_some() {
            shown.push((format!("{name}, MB at most"), figure(used.rss_mb_max, 0)));
        }
    }
    for start in report.starts.iter().take(STARTS_SHOWN) {
        let name = format!("{}, start to ready s", escape(&start.process));
        shown.push((name, figure(Some(start.seconds), 2)));
    }
    page.push_str("<dl>");
    for (name, value) in shown {
        let _ = write!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    page.push_str("</dl>\n");
}

pub(super) fn steps(page: &mut String, report: &Report) {
    if let Some(ramp) = &report.extra.ramp {
        table_of(page, "The product", &ramp.steps);
    }
    if let Some(beside) = &report.extra.beside_bare {
        table_of(page, "The bare chain", &beside.bare.steps);
    }
}

fn table_of(page: &mut String, whose: &str, steps: &[Step]) {
    if steps.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h3>{whose}</h3>");
    page.push_str(
        "<table><thead><tr><th>rate</th><th>sent/s</th><th>p50 ms</th><th>p99 ms</th>\
         <th>not stored at the end</th><th></th></tr></thead><tbody>\n",
    );
    for step in steps {
        let words = match step.reasons.is_empty() {
            true => "holds".to_owned(),
            false => escape(&step.reasons.join(", ")),
        };
        let _ = writeln!(
            page,
            "<tr><th>{:.0}</th><td>{:.0}</td><td>{}</td><td>{}</td><td>{}</td><td>{words}</td></tr>",
            step.rate,
            step.events_per_s,
            figure(step.latency_ms.map(|latency| latency.p50), 1),
            figure(step.latency_ms.map(|latency| latency.p99), 1),
            step.under_way,
        );
    }
    page.push_str("</tbody></table>\n");
}
