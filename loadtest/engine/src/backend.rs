//! The services of a run, its own or those that it is attached to: a virtual host, a database, and
//! what the processes must be told to find them.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use ha_services::{Service, Services};
use ha_settings::{InfluxSettings, Secret, SinkChoice};
use ha_sink::Api;
use ha_sink::Sink;
use loadtest_report::Role;
use tempfile::TempDir;
use url::Url;

use crate::cluster::Cluster;
use crate::database::{Database, Instances};
use crate::plan::{BrokerPlan, Plan, SinkPlan};
use crate::queues::Management;
use crate::usage::Usage;

/// Environment variables of a process.
pub type Environment = Vec<(&'static str, String)>;

pub async fn start_services(
    plan: &Plan,
    on_step: &impl Fn(&str),
) -> anyhow::Result<Option<Services>> {
    let mut which = Vec::new();
    if matches!(plan.broker, BrokerPlan::Private) {
        which.push(Service::RabbitMq);
    }
    if let SinkPlan::PrivateInflux(version) = plan.sink {
        which.push(Service::InfluxDb);
        if version == Api::V2 {
            which.push(Service::InfluxDbV2Front);
        }
    }
    if which.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = which.iter().map(|service| service.name()).collect();
    on_step(&format!("starting private services: {}", names.join(", ")));
    let settings: Vec<(&str, &str)> = plan
        .topology
        .services
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Services::start_private_with(&which, &settings)
        .await
        .map(Some)
}

pub fn watch_services(services: Option<&Services>, usage: &Usage) {
    for (service, role) in [
        (Service::RabbitMq, Role::Broker),
        (Service::InfluxDb, Role::Database),
    ] {
        if let Some(pid) = services.and_then(|services| services.pid(service)) {
            usage.watch(role, pid);
        }
    }
}

pub async fn broker(
    plan: &Plan,
    services: Option<&Services>,
    cluster: Option<&Cluster>,
) -> anyhow::Result<Option<(Url, Option<Management>)>> {
    let (amqp_url, management_url) = match &plan.broker {
        BrokerPlan::None => return Ok(None),
        BrokerPlan::Given {
            amqp_url,
            management_url,
        } => (amqp_url.clone(), management_url.clone()),
        BrokerPlan::Private => {
            let services = services.context("no private RabbitMQ")?;
            let vhost = Services::unique_name("loadtest");
            services.create_vhost(&vhost).await?;
            let management = services.rabbitmq_management_url().parse()?;
            let url = services.amqp_url(&vhost).parse()?;
            let url = match cluster {
                Some(cluster) => cluster.balanced(&url)?,
                None => url,
            };
            (url, Some(management))
        }
    };
    let management = management_url.map(|url| Management {
        url,
        user: amqp_url.username().to_owned(),
        password: amqp_url.password().unwrap_or_default().to_owned(),
        vhost: amqp_url.path().trim_start_matches('/').to_owned(),
    });
    Ok(Some((amqp_url, management)))
}

/// Prepares the database and adds to the environment what the writers need.
pub async fn database(
    plan: &Plan,
    services: Option<&Services>,
    instance: &str,
    folder: &TempDir,
    environment: &mut Environment,
) -> anyhow::Result<Database> {
    environment.push(("SINK", plan.sink.as_str().to_owned()));
    let (writing, reading, instances) = match &plan.sink {
        SinkPlan::Null => return Ok(Database::Nowhere),
        SinkPlan::Sqlite => {
            let path = folder.path().join("points.db");
            environment.push(("SQLITE_PATH", path.display().to_string()));
            return Ok(Database::Sqlite(path));
        }
        // Others may write there, too.
        SinkPlan::Influx(settings) => (
            settings.as_ref().clone(),
            settings.as_ref().clone(),
            Some(match plan.homes {
                1 => Instances::One(instance.to_owned()),
                _ => Instances::Numbered(instance.to_owned()),
            }),
        ),
        SinkPlan::PrivateInflux(version) => {
            let services = services.context("no private InfluxDB")?;
            let bucket = Services::unique_name("loadtest");
            services.create_database(&bucket).await?;
            let reading = InfluxSettings {
                url: services.influxdb_url().parse()?,
                version: Api::V1,
                token: None,
                org: ha_services::INFLUXDB_ORG.to_owned(),
                bucket,
                username: None,
                password: None,
            };
            let writing = match version {
                Api::V1 => reading.clone(),
                Api::V2 => InfluxSettings {
                    url: services.influxdb_v2_url().parse()?,
                    version: Api::V2,
                    token: Some(Secret::new(services.influxdb_token())),
                    ..reading.clone()
                },
            };
            (writing, reading, None)
        }
    };
    push_influxdb(environment, &writing);
    let sink = SinkChoice::Influx(reading)
        .open(&Default::default(), &plan.tls)
        .await?;
    let Sink::InfluxDb(client) = sink else {
        bail!("not an InfluxDB client")
    };
    Ok(Database::InfluxDb {
        client: Arc::new(client),
        instances,
    })
}

fn push_influxdb(environment: &mut Environment, settings: &InfluxSettings) {
    let version = match settings.version {
        Api::V1 => "v1",
        Api::V2 => "v2",
    };
    let revealed = |secret: &Option<Secret>| {
        secret
            .as_ref()
            .map_or(String::new(), |secret| secret.reveal().to_owned())
    };
    // An empty variable counts as not set.
    environment.extend([
        ("INFLUXDB_URL", settings.url.to_string()),
        ("INFLUXDB_API", version.to_owned()),
        ("INFLUXDB_ORG", settings.org.clone()),
        ("INFLUXDB_BUCKET", settings.bucket.clone()),
        ("INFLUXDB_TOKEN", revealed(&settings.token)),
        (
            "INFLUXDB_USERNAME",
            settings.username.clone().unwrap_or_default(),
        ),
        ("INFLUXDB_PASSWORD", revealed(&settings.password)),
    ]);
}
