//! The queries of the dashboards, as Grafana would ask them, over the whole run.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use loadtest_engine::harness::Harness;
use serde_json::Value;

use super::monitoring::Monitoring;
use super::render;

/// Between two points of a graph.
const STEP_S: u64 = 5;
/// Grafana's `$__rate_interval` is at least four scrapes, which are 1 s apart here.
const RATE_INTERVAL: &str = "20s";

/// What a panel (or a variable) of a dashboard showed.
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) dashboard: String,
    pub(super) title: String,
    /// What each query found; or the words of a refusal.
    pub(super) series: Result<Vec<Found>, String>,
}

/// What a query found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Series with at least one value.
    pub(super) series: usize,
    /// Of these, series whose values are not all 0.
    pub(super) not_zero: usize,
}

impl Found {
    /// Of the values of each series; no value is none of NaN and null.
    fn of(all: impl Iterator<Item = Vec<Value>>) -> Self {
        let mut found = Self::default();
        for values in all {
            let is_value = |value: &&Value| !value.is_null() && *value != "NaN";
            let mut values = values.iter().filter(is_value).peekable();
            found.series += usize::from(values.peek().is_some());
            found.not_zero += usize::from(values.any(|value| *value != "0" && *value != 0));
        }
        found
    }
}

impl Panel {
    pub(super) fn problem(&self) -> Option<String> {
        let Self {
            dashboard,
            title,
            series,
        } = self;
        match series {
            Ok(all) if all.iter().all(|found| found.series > 0) && !all.is_empty() => None,
            Ok(all) => Some(format!("{dashboard}, {title}: empty ({all:?})")),
            Err(words) => Some(format!("{dashboard}, {title}: {words}")),
        }
    }
}

/// Asks all of them.
///
/// # Errors
/// When a dashboard cannot be read; a query that fails is in its panel.
pub(super) async fn ask(
    harness: &Harness,
    monitoring: &Monitoring,
    deploy: &Path,
    begun: SystemTime,
) -> anyhow::Result<Vec<Panel>> {
    let asking = Asking {
        harness,
        prometheus_url: monitoring.prometheus_url(),
        bucket: harness.setting("INFLUXDB_BUCKET").context("no database")?,
        home: harness.setting("INSTANCE_NAME").context("no name")?,
        from_s: seconds(begun)?,
        to_s: seconds(SystemTime::now())?,
    };
    let folder = deploy.join("grafana/dashboards");
    let entries = std::fs::read_dir(&folder);
    let entries = entries.with_context(|| format!("reading {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry?.path());
    }
    files.sort();
    let mut panels = Vec::new();
    for file in files {
        let dashboard: Value = serde_json::from_str(&render::read(&file)?)
            .with_context(|| format!("{} is not JSON", file.display()))?;
        panels.extend(asking.dashboard(&dashboard).await);
    }
    Ok(panels)
}

fn seconds(time: SystemTime) -> anyhow::Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH)?.as_secs())
}

struct Asking<'a> {
    harness: &'a Harness,
    prometheus_url: String,
    bucket: &'a str,
    home: &'a str,
    from_s: u64,
    to_s: u64,
}

impl Asking<'_> {
    async fn dashboard(&self, dashboard: &Value) -> Vec<Panel> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let name = text(&dashboard["title"]);
        let mut panels = Vec::new();
        for variable in list(&dashboard["templating"]["list"]) {
            let title = format!("variable {}", text(&variable["name"]));
            let query = match &variable["query"] {
                Value::String(query) => query.clone(),
                query => text(&query["query"]),
            };
            panels.push(Panel {
                dashboard: name.clone(),
                title,
                series: said(self.variable(&query).await.map(|found| vec![found])),
            });
        }
        for panel in list(&dashboard["panels"]) {
            if panel["type"] == "row" {
                continue;
            }
            let mut series = Ok(Vec::new());
            for target in list(&panel["targets"]) {
                let found = match target["expr"].as_str() {
                    Some(expression) => self.prometheus(expression).await,
                    None => self.influxdb(&text(&target["query"])).await,
                };
                series = series.and_then(|mut all: Vec<Found>| {
                    all.push(said(found)?);
                    Ok(all)
                });
            }
            panels.push(Panel {
                dashboard: name.clone(),
                title: text(&panel["title"]),
                series,
            });
        }
        panels
    }

    async fn variable(&self, query: &str) -> anyhow::Result<Found> {
        let Some(inside) = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'))
        else {
            return self.influxdb(query).await;
        };
        let (metric, label) = inside.rsplit_once(", ").context("label_values of what")?;
        let url = format!("{}/api/v1/label/{label}/values", self.prometheus_url);
        let answer = self.get(&url, &[("match[]", metric)]).await?;
        let values = answer["data"].as_array().into_iter().flatten();
        Ok(Found::of(values.map(|value| vec![value.clone()])))
    }

    async fn prometheus(&self, expression: &str) -> anyhow::Result<Found> {
        let expression = expression
            .replace("$__rate_interval", RATE_INTERVAL)
            .replace("$producer", ".*");
        known(&expression)?;
        let url = format!("{}/api/v1/query_range", self.prometheus_url);
        let parameters = [
            ("query", expression.as_str()),
            ("start", &self.from_s.to_string()),
            ("end", &self.to_s.to_string()),
            ("step", &STEP_S.to_string()),
        ];
        let answer = self.get(&url, &parameters).await?;
        let series = answer["data"]["result"].as_array().into_iter().flatten();
        Ok(Found::of(series.map(|series| {
            let points = series["values"].as_array().into_iter().flatten();
            points.map(|point| point[1].clone()).collect()
        })))
    }

    async fn influxdb(&self, query: &str) -> anyhow::Result<Found> {
        let times = format!("time >= {}s AND time <= {}s", self.from_s, self.to_s);
        let query = query
            .replace("$timeFilter", &times)
            .replace("$__interval", &format!("{STEP_S}s"))
            .replace("$home", self.home);
        // The end of a regular expression is no variable.
        known(&query.replace("$/", "/"))?;
        let services = self.harness.own_services()?;
        let answer = services.query(self.bucket, &query).await?;
        let series = answer
            .pointer("/results/0/series")
            .and_then(Value::as_array);
        Ok(Found::of(series.into_iter().flatten().map(|series| {
            let rows = series["values"].as_array().into_iter().flatten();
            // The first of a row is its time.
            rows.flat_map(|row| row.as_array().into_iter().flatten().skip(1).cloned())
                .collect()
        })))
    }

    async fn get(&self, url: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = url::Url::parse_with_params(url, parameters)?;
        let answer = self.harness.client().get(url).send().await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        if answer["status"] != "success" {
            bail!("Prometheus says: {}", answer["error"]);
        }
        Ok(answer)
    }
}

fn said<T>(result: anyhow::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{error:#}"))
}

/// Every variable was given a value.
fn known(query: &str) -> anyhow::Result<()> {
    if query.contains('$') {
        bail!("a variable that is not known here: {query}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_and_nan_are_no_values_and_zeros_are_seen_as_such() {
        let list = |value: Value| value.as_array().cloned().unwrap();
        let all = [
            json!(["NaN", null]),
            json!(["0", 0]),
            json!(["0", "2.5"]),
            json!([]),
        ];
        let found = Found::of(all.into_iter().map(list));
        assert_eq!(
            found,
            Found {
                series: 2,
                not_zero: 1
            }
        );
        let panel = |all: Vec<Found>| Panel {
            dashboard: "a".to_owned(),
            title: "b".to_owned(),
            series: Ok(all),
        };
        assert!(panel(vec![found]).problem().is_none());
        assert!(panel(vec![found, Found::default()]).problem().is_some());
        assert!(panel(Vec::new()).problem().is_some());
    }
}
