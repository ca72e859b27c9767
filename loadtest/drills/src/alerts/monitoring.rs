//! Prometheus and Alertmanager of a run, with the shipped files.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ha_services::{Service, Services};
use loadtest_engine::harness::Harness;
use loadtest_report::Role;
use serde_json::Value;
use url::Url;

use super::names::alerts_of;
use super::render::{self, Places, Scale};

const SCRAPED_MAX: Duration = Duration::from_secs(60);

/// Running; both end when it is dropped.
#[derive(Debug)]
pub(super) struct Monitoring {
    prometheus: Services,
    _alertmanager: Services,
    /// Of the rules: name and severity.
    pub(super) alerts: Vec<(String, String)>,
}

impl Monitoring {
    /// Starts both; Alertmanager delivers to the web hook at `receiver_port` of this machine.
    pub(super) async fn start(
        harness: &Harness,
        deploy: &Path,
        receiver_port: u16,
        scale: &Scale,
    ) -> anyhow::Result<Self> {
        let folder = harness.folder();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            anyhow::Ok(path.display().to_string())
        };
        let shipped = |name: &str| render::read(&deploy.join(name));
        let rules = shipped("prometheus/alerts.rules.yml")?;
        let alerts = render::alerts(&rules);
        let rules = write("alerts.rules.yml", &render::rules(&rules, scale)?)?;

        let routes = shipped("alertmanager/alertmanager.yml")?;
        let routes = render::alertmanager(&routes, receiver_port)?;
        let routes = write("alertmanager.yml", &routes)?;
        let settings = [("ALERTMANAGER_CONFIG_FILE", routes.as_str())];
        let alertmanager =
            Services::start_private_with(&[Service::Alertmanager], &settings).await?;

        let at = |role| {
            let names = harness.names(role);
            let running = names.iter().filter_map(|name| harness.process(name));
            addresses(&running.map(|one| one.admin_url("")).collect::<Vec<_>>())
        };
        let broker = addresses(&[harness.own_services()?.rabbitmq_prometheus_url()]);
        let of_alertmanager = addresses(&[alertmanager.alertmanager_url()]);
        let places = Places {
            rules: &rules,
            alertmanager: of_alertmanager.first().context("no address")?,
            targets: &[
                ("ha-ingestor-producer", at(Role::Producer)),
                ("ha-ingestor-worker", at(Role::Worker)),
                ("ha-ingestor-rabbitmq", broker.clone()),
                ("ha-ingestor-rabbitmq-node", broker),
                // Its own port is known when it runs, and no rule is about it.
                ("prometheus", Vec::new()),
                ("alertmanager", of_alertmanager.clone()),
            ],
        };
        let text = render::prometheus(&shipped("prometheus/prometheus.yml")?, &places)?;
        let configuration = write("prometheus.yml", &text)?;
        let settings = [("PROMETHEUS_CONFIG_FILE", configuration.as_str())];
        let prometheus = Services::start_private_with(&[Service::Prometheus], &settings).await?;
        let monitoring = Self {
            prometheus,
            _alertmanager: alertmanager,
            alerts,
        };
        monitoring.scraped(harness).await?;
        Ok(monitoring)
    }

    /// Waits until every target was read: a counter that Prometheus first sees at 1 has not risen.
    async fn scraped(&self, harness: &Harness) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/targets", self.prometheus_url());
        let deadline = Instant::now() + SCRAPED_MAX;
        loop {
            let answer = harness.client().get(&url).send().await?;
            let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
            let targets = answer["data"]["activeTargets"].as_array();
            let targets = targets.map_or(&[][..], Vec::as_slice);
            if !targets.is_empty() && targets.iter().all(|target| target["health"] == "up") {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("Prometheus cannot read all of its targets: {answer}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Alerts that are in this state (`pending`, `firing`) now: name and severity.
    pub(super) async fn alerts_now(
        &self,
        client: &reqwest::Client,
        state: &str,
    ) -> anyhow::Result<Vec<String>> {
        let query = format!("ALERTS{{alertstate=\"{state}\"}}");
        self.alerts_by(client, &query).await
    }

    /// Alerts that were in this state at some time of the run.
    pub(super) async fn alerts_ever(
        &self,
        client: &reqwest::Client,
        state: &str,
    ) -> anyhow::Result<Vec<String>> {
        let query = format!("max_over_time(ALERTS{{alertstate=\"{state}\"}}[1d])");
        self.alerts_by(client, &query).await
    }

    async fn alerts_by(
        &self,
        client: &reqwest::Client,
        query: &str,
    ) -> anyhow::Result<Vec<String>> {
        let url = format!("{}/api/v1/query", self.prometheus_url());
        let url = Url::parse_with_params(&url, [("query", query)])?;
        let answer = client.get(url).send().await?;
        alerts_of(&serde_json::from_slice(&answer.bytes().await?)?)
    }

    pub(super) fn prometheus_url(&self) -> String {
        self.prometheus.prometheus_url()
    }
}

/// `host:port` of each.
fn addresses(urls: &[String]) -> Vec<String> {
    let parsed = urls.iter().filter_map(|url| url.parse::<Url>().ok());
    parsed
        .filter_map(|url| Some(format!("{}:{}", url.host_str()?, url.port()?)))
        .collect()
}
