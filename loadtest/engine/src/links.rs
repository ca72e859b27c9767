//! The proxies between the parts of a run.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::lookup_host;
use url::Url;

use crate::backend::Environment;
use crate::http_front::{Answer, HttpFront};
use crate::plan::Plan;
use crate::ports::free_port;
use crate::proxy::{Network, TcpProxy};
use crate::topology::Link;

/// The proxies of a run.
#[derive(Debug, Default)]
pub struct Links {
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
    /// Starts the proxies that the plan asks for, in front of what the processes would connect to.
    ///
    /// # Errors
    /// When a proxy cannot be started in front of a target.
    pub(crate) async fn start(
        plan: &Plan,
        environment: &Environment,
        home: &str,
    ) -> anyhow::Result<Self> {
        let mut links = Self::default();
        let setting = |name: &str| {
            let found = environment.iter().rfind(|(set, _)| *set == name);
            found.map(|(_, value)| value.as_str())
        };
        for link in &plan.topology.links {
            let target = match link {
                Link::HomeProducer => Some(home),
                Link::ProducerBroker | Link::WorkerBroker => setting("AMQP_URL"),
                Link::ProducerDatabase | Link::WorkerDatabase => setting("INFLUXDB_URL"),
                // They are put in front of the workers when these have their addresses.
                Link::ProducerWorkers => None,
            };
            if let Some(target) = target {
                links.add(*link, &target.parse()?).await?;
            }
        }
        Ok(links)
    }

    /// Puts a proxy in front of `target`; gives where a process must connect to instead.
    pub(crate) async fn add(&mut self, link: Link, target: &Url) -> anyhow::Result<Url> {
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
    pub(crate) fn url(&self, link: Link) -> Option<&Url> {
        let proxy = self.proxies.iter().find(|proxy| proxy.link == link)?;
        Some(&proxy.url)
    }

    /// All of these behave so from now on.
    pub fn set_network(&self, links: &[Link], network: Network) {
        for link in links {
            let proxies = self.proxies.iter().filter(|proxy| proxy.link == *link);
            proxies.for_each(|proxy| proxy.tcp.set(network));
        }
    }

    /// All databases answer so from now on.
    pub fn set_answer(&self, answer: Answer) {
        for front in self.fronts() {
            front.set(answer);
        }
    }

    /// All databases take this much longer from now on.
    pub fn set_latency(&self, latency: Duration) {
        for front in self.fronts() {
            front.set_latency(latency);
        }
    }

    /// Requests that were answered by a front and not by the database.
    pub fn requests_disturbed(&self) -> u64 {
        self.fronts().map(HttpFront::disturbed).sum()
    }

    /// Ports that the processes connect to.
    pub fn ports(&self) -> Vec<u16> {
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
