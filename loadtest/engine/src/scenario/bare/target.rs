//! Where the bare chain writes.

use anyhow::Context as _;
use base64::Engine as _;
use ha_services::Services;
use reqwest::header::HeaderValue;
use url::Url;

use crate::harness::Harness;
use crate::plan::SinkPlan;

/// A database of InfluxDB, as the product's processes are told of it.
#[derive(Debug, Clone)]
pub(super) struct WriteTarget {
    /// With bucket and precision (nanoseconds).
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
    /// A home that is none of the run's.
    pub(super) instance: String,
}

/// A place beside the run's own points: another database where the services are the run's own,
/// else another instance. `None` without InfluxDB.
pub(super) async fn bare_target(harness: &Harness) -> anyhow::Result<Option<WriteTarget>> {
    let bucket = match &harness.plan().sink {
        SinkPlan::Null | SinkPlan::Sqlite => return Ok(None),
        SinkPlan::Influx(settings) => settings.bucket.clone(),
        SinkPlan::PrivateInflux(_) => {
            let name = Services::unique_name("bare");
            harness.own_services()?.create_database(&name).await?;
            name
        }
    };
    let setting = |name| harness.setting(name).unwrap_or_default();
    let mut url: Url = setting("INFLUXDB_URL").parse().context("INFLUXDB_URL")?;
    let is_v2 = setting("INFLUXDB_API") == "v2";
    let path = if is_v2 { "api/v2/write" } else { "write" };
    url.path_segments_mut()
        .ok()
        .context("INFLUXDB_URL is not a base")?
        .pop_if_empty()
        .extend(path.split('/'));
    if is_v2 {
        url.query_pairs_mut()
            .append_pair("org", setting("INFLUXDB_ORG"))
            .append_pair("bucket", &bucket)
            .append_pair("precision", "ns");
    } else {
        url.query_pairs_mut()
            .append_pair("db", &bucket)
            .append_pair("precision", "n");
    }
    let (token, username) = (setting("INFLUXDB_TOKEN"), setting("INFLUXDB_USERNAME"));
    let authorization = if !username.is_empty() {
        let pair = format!("{username}:{}", setting("INFLUXDB_PASSWORD"));
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        Some(format!("Basic {pair}"))
    } else if !token.is_empty() {
        Some(format!("Token {token}"))
    } else {
        None
    };
    let authorization = authorization.map(|text| {
        HeaderValue::try_from(text).map(|mut value| {
            value.set_sensitive(true);
            value
        })
    });
    Ok(Some(WriteTarget {
        url,
        authorization: authorization.transpose()?,
        instance: Services::unique_name("loadbare"),
    }))
}
