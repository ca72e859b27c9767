//! What a scenario changes in a system before it starts: proxies between its parts, and settings.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::lookup_host;
use url::Url;

use super::http_front::{Answer, HttpFront};
use super::ports::free_port;
use super::proxy::{Network, TcpProxy};
use super::settings::SinkPlan;

/// A way between two parts of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    /// From Home Assistant.
    HomeProducer,
    /// The producer's to the broker.
    ProducerBroker,
    /// The workers' to the broker.
    WorkerBroker,
    /// The producer's to each worker, in mode service.
    ProducerWorkers,
    /// The producer's to the database.
    ProducerDatabase,
    /// The workers' to the database.
    WorkerDatabase,
}

impl Link {
    pub(crate) const ALL: [Self; 6] = [
        Self::HomeProducer,
        Self::ProducerBroker,
        Self::WorkerBroker,
        Self::ProducerWorkers,
        Self::ProducerDatabase,
        Self::WorkerDatabase,
    ];

    /// The producer's way out, whatever it is in a mode.
    pub(crate) const WAY_OUT: [Self; 3] = [
        Self::ProducerBroker,
        Self::ProducerWorkers,
        Self::ProducerDatabase,
    ];

    fn is_database(self) -> bool {
        matches!(self, Self::ProducerDatabase | Self::WorkerDatabase)
    }
}

/// What a scenario wants to be different.
#[derive(Debug, Clone, Default)]
pub struct Rig {
    /// Connections that go through proxies.
    pub(crate) links: Vec<Link>,
    /// Settings of the producer on top of the others.
    pub(crate) producer: Vec<(&'static str, String)>,
    /// The same of the workers.
    pub(crate) worker: Vec<(&'static str, String)>,
    /// Settings of private services.
    pub(crate) services: Vec<(&'static str, String)>,
    /// RabbitMQ is a cluster of three nodes.
    pub(crate) cluster: bool,
    /// Of what is different, what a report must say.
    pub(crate) notes: Vec<String>,
}

/// What InfluxDB has in the place of its defaults where it keeps the series of many homes, as in
/// `deploy/compose.fleet.yml`. The names alone of 60,000 series fill a cache of 25 MB, so that it
/// writes a snapshot some each nine seconds and collects its garbage each three, and both take all
/// processors that they can get.
const DATABASE_OF_MANY_HOMES: [(&str, &str); 3] = [
    ("INFLUXDB_DATA_CACHE_SNAPSHOT_MEMORY_SIZE", "256m"),
    ("GOGC", "off"),
    ("GOMEMLIMIT", "4GiB"),
];

impl Rig {
    /// That of many homes. A variable of the environment goes before what is set here.
    pub(crate) fn of_many_homes(sink: &SinkPlan) -> Self {
        if !matches!(sink, SinkPlan::PrivateInflux(_)) {
            return Self::default();
        }
        let services = DATABASE_OF_MANY_HOMES.map(|(name, value)| {
            let given = std::env::var(name);
            (name, given.unwrap_or_else(|_| value.to_owned()))
        });
        let said = services
            .each_ref()
            .map(|(name, value)| format!("{name}={value}"));
        Self {
            notes: vec![format!("a database as a fleet has it: {}", said.join(", "))],
            services: services.into(),
            ..Self::default()
        }
    }
}

/// The proxies of a run.
#[derive(Debug, Default)]
pub(crate) struct Links {
    proxies: Vec<LinkProxy>,
}

#[derive(Debug)]
struct LinkProxy {
    link: Link,
    tcp: TcpProxy,
    /// Behind the first, for databases.
    http: Option<HttpFront>,
    url: Url,
}

impl Links {
    /// Puts a proxy in front of `target`; gives where a process must connect to instead.
    pub(super) async fn add(&mut self, link: Link, target: &Url) -> anyhow::Result<Url> {
        if !matches!(target.scheme(), "http" | "amqp" | "ws") {
            let scheme = target.scheme();
            bail!("a proxy cannot look into {scheme} connections; give addresses without TLS");
        }
        let mut targets = vec![address(target).await?];
        let mut http = None;
        if link.is_database() {
            let front = HttpFront::start(free_port()?, target.clone()).await?;
            targets = vec![front.address()];
            http = Some(front);
        }
        let tcp = TcpProxy::start(free_port()?, targets).await?;
        let mut url = target.clone();
        url.set_ip_host(IpAddr::from([127, 0, 0, 1]))
            .ok()
            .context("an address without a host")?;
        url.set_port(Some(tcp.address().port()))
            .ok()
            .context("an address without a port")?;
        self.proxies.push(LinkProxy {
            link,
            tcp,
            http,
            url: url.clone(),
        });
        Ok(url)
    }

    /// Where a process must connect to instead.
    pub(super) fn url(&self, link: Link) -> Option<&Url> {
        let proxy = self.proxies.iter().find(|proxy| proxy.link == link)?;
        Some(&proxy.url)
    }

    /// All of these behave so from now on.
    pub(super) fn set_network(&self, links: &[Link], network: Network) {
        for link in links {
            let proxies = self.proxies.iter().filter(|proxy| proxy.link == *link);
            proxies.for_each(|proxy| proxy.tcp.set(network));
        }
    }

    /// All databases answer so from now on.
    pub(super) fn set_answer(&self, answer: Answer) {
        for front in self.fronts() {
            front.set(answer);
        }
    }

    /// All databases take so much longer from now on.
    pub(super) fn set_latency(&self, latency: Duration) {
        for front in self.fronts() {
            front.set_latency(latency);
        }
    }

    /// Requests that were answered by a front and not by the database.
    pub(super) fn requests_disturbed(&self) -> u64 {
        self.fronts().map(HttpFront::disturbed).sum()
    }

    /// Ports that the processes connect to.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.proxies
            .iter()
            .map(|proxy| proxy.tcp.address().port())
            .collect()
    }

    fn fronts(&self) -> impl Iterator<Item = &HttpFront> {
        self.proxies.iter().filter_map(|proxy| proxy.http.as_ref())
    }
}

async fn address(url: &Url) -> anyhow::Result<SocketAddr> {
    // A URL writes an IPv6 address in brackets, and a lookup takes it without.
    let host = url.host_str().context("an address without a host")?;
    let host = host.trim_matches(['[', ']']);
    let port = match (url.port_or_known_default(), url.scheme()) {
        (Some(port), _) => port,
        (None, "amqp") => 5672,
        (None, _) => bail!("an address without a port"),
    };
    let looking = lookup_host((host, port));
    let mut found = tokio::time::timeout(Duration::from_secs(5), looking)
        .await
        .with_context(|| format!("looking up {host} takes too long"))??;
    found
        .next()
        .with_context(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_sink::Api;

    #[test]
    fn only_a_database_of_the_run_s_own_is_set_for_many_homes_and_the_report_says_so() {
        let own = Rig::of_many_homes(&SinkPlan::PrivateInflux(Api::V1));
        assert_eq!(own.services.len(), DATABASE_OF_MANY_HOMES.len());
        for (name, value) in &own.services {
            assert!(own.notes[0].contains(&format!("{name}={value}")), "{own:?}");
        }
        let other = Rig::of_many_homes(&SinkPlan::Sqlite);
        assert!(other.services.is_empty() && other.notes.is_empty());
    }
}
