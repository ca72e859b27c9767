//! RabbitMQ as a cluster of three nodes, behind one address.

use anyhow::{Context as _, bail};
use futures_util::future::try_join;
use ha_services::{Service, Services};
use reqwest::Method;
use url::Url;

use crate::ports::free_port;
use crate::proxy::TcpProxy;

const COOKIE: &str = "loadtest";
const SETTING_NODE: &str = "SERVICES_RABBITMQ_NODE";
const SETTING_COOKIE: &str = "SERVICES_RABBITMQ_COOKIE";
const SETTING_EPMD: &str = "SERVICES_RABBITMQ_EPMD_PORT";

/// Settings of the first node, which is one of the run's services.
pub fn first_node() -> Vec<(&'static str, String)> {
    vec![(SETTING_NODE, node(1)), (SETTING_COOKIE, COOKIE.to_owned())]
}

/// The second and third node, and the address of all three. Nodes end when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    others: [Services; 2],
    balancer: TcpProxy,
}

impl Cluster {
    /// Joins two more nodes to the first.
    pub async fn form(first: &Services) -> anyhow::Result<Self> {
        let epmd = first.port_base().to_string();
        let start = async |number| {
            let name = node(number);
            let settings = [
                (SETTING_NODE, name.as_str()),
                (SETTING_COOKIE, COOKIE),
                (SETTING_EPMD, epmd.as_str()),
            ];
            Services::start_private_with(&[Service::RabbitMq], &settings).await
        };
        let (second, third) = try_join(start(2), start(3)).await?;
        let others = [second, third];
        let first_name = format!("{}@localhost", node(1));
        for other in &others {
            for words in [
                &["stop_app"][..],
                &["reset"],
                &["join_cluster", first_name.as_str()],
                &["start_app"],
            ] {
                other.rabbitmqctl(words).await?;
            }
        }
        let mut targets = Vec::new();
        for services in [first, &others[0], &others[1]] {
            let url: Url = services.amqp_url("any").parse()?;
            let port = url.port().context("an AMQP URL without a port")?;
            targets.push(([127, 0, 0, 1], port).into());
        }
        let balancer = TcpProxy::start(free_port()?, targets).await?;
        Ok(Self { others, balancer })
    }

    /// A virtual host at the address of all three nodes.
    pub fn balanced(&self, url: &Url) -> anyhow::Result<Url> {
        let mut url = url.clone();
        let port = self.balancer.address().port();
        if url.set_port(Some(port)).is_err() {
            bail!("an AMQP URL that takes no port");
        }
        Ok(url)
    }

    /// The nodes besides the first.
    pub fn others(&self) -> &[Services] {
        &self.others
    }

    /// The node that leads a queue.
    pub async fn leader<'a>(
        &'a self,
        first: &'a Services,
        vhost: &str,
        queue: &str,
    ) -> anyhow::Result<&'a Services> {
        let path = format!("queues/{vhost}/{queue}");
        let found = first.management(Method::GET, &path, None).await?;
        let members = found
            .pointer("/members")
            .and_then(|members| members.as_array());
        if members.map(Vec::len) != Some(3) {
            bail!("the queue {queue} does not have three members: {members:?}");
        }
        let leader = found.pointer("/leader").and_then(|leader| leader.as_str());
        let leader = leader.context("the queue has no leader")?;
        for (number, services) in [(1, first), (2, &self.others[0]), (3, &self.others[1])] {
            if leader == format!("{}@localhost", node(number)) {
                return Ok(services);
            }
        }
        bail!("the queue is led by {leader}, which is none of the three nodes")
    }
}

fn node(number: u32) -> String {
    format!("drill{number}")
}
