//! The v2 API around the write: health, organisations, buckets.
//!
//! The crate `influxdb2` speaks it for plain `http` at the root of a host. It has no TLS here (its
//! rustls feature brings four advisories), drops a path in front of the endpoints and knows no
//! users; then our own client asks the same endpoints and reads the same models. Two habits of the
//! crate are kept from the product: it panics on an address that is none (ours was parsed before)
//! and waits for ever (every call has a deadline).

use std::future::Future;
use std::time::Duration;

use influxdb2::api::buckets::ListBucketsRequest;
use influxdb2::api::organization::ListOrganizationRequest;
use influxdb2::models::{Bucket, Buckets, HealthCheck, Organizations, PostBucketRequest};
use influxdb2::{Client, ClientBuilder, RequestError};
use serde::de::DeserializeOwned;

use crate::influxdb::{InfluxDb, beginning, chain, endpoint, words_of};

const DEADLINE: Duration = Duration::from_secs(10);
/// The most that InfluxDB lists at once.
const LIST_MAX: u8 = 100;

/// Why the API gave no answer to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    Unreachable(String),
    #[error("{status}: {words}")]
    Status { status: u16, words: String },
    #[error("not the v2 API: {0}")]
    Malformed(String),
    #[error("organisation {0:?} is not visible to the token; check INFLUXDB_ORG")]
    NoOrganization(String),
}

/// The API of one database.
pub(crate) struct V2Api<'a> {
    influxdb: &'a InfluxDb,
    /// None where the crate cannot go.
    client: Option<Client>,
}

impl<'a> V2Api<'a> {
    pub(crate) fn new(influxdb: &'a InfluxDb) -> Self {
        let (options, base) = (influxdb.options(), influxdb.base());
        let within_reach =
            base.scheme() == "http" && base.path() == "/" && options.username.is_none();
        let client = within_reach.then(|| {
            let org = options.org.as_deref().unwrap_or_default();
            let token = options.token.as_deref().unwrap_or_default();
            ClientBuilder::new(base.as_str(), org, token).build().ok()
        });
        Self {
            influxdb,
            client: client.flatten(),
        }
    }

    pub(crate) async fn health(&self) -> Result<HealthCheck, ApiError> {
        match &self.client {
            Some(client) => within_deadline(client.health()).await,
            None => self.get(&["health"], &[]).await,
        }
    }

    /// The bucket, if the token may see it.
    pub(crate) async fn find_bucket(&self, name: &str) -> Result<Option<Bucket>, ApiError> {
        match self.buckets(Some(name)).await {
            Ok(found) => Ok(found.buckets.into_iter().find(|bucket| bucket.name == name)),
            Err(ApiError::Status { status: 404, words }) if words.contains("bucket") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn bucket_names(&self) -> Result<Vec<String>, ApiError> {
        let found = self.buckets(None).await?;
        Ok(found
            .buckets
            .into_iter()
            .map(|bucket| bucket.name)
            .collect())
    }

    pub(crate) async fn organization_names(&self) -> Result<Vec<String>, ApiError> {
        let found = self.organizations(None).await?;
        Ok(found
            .orgs
            .into_iter()
            .map(|organization| organization.name)
            .collect())
    }

    pub(crate) async fn create_bucket(&self, name: &str) -> Result<(), ApiError> {
        let org = self.influxdb.options().org.clone().unwrap_or_default();
        let found = self.organizations(Some(&org)).await?;
        let id = found
            .orgs
            .into_iter()
            .find(|found| found.name == org)
            .and_then(|found| found.id);
        let id = id.ok_or(ApiError::NoOrganization(org))?;
        let request = PostBucketRequest::new(id, name.to_owned());
        match &self.client {
            Some(client) => within_deadline(client.create_bucket(Some(request))).await,
            None => {
                let url = endpoint(self.influxdb.base(), &["api", "v2", "buckets"]);
                let request = self.influxdb.client().post(url).json(&request);
                self.send::<serde_json::Value>(request).await.map(drop)
            }
        }
    }

    async fn buckets(&self, name: Option<&str>) -> Result<Buckets, ApiError> {
        let org = self.influxdb.options().org.clone();
        match &self.client {
            Some(client) => {
                let name = name.map(str::to_owned);
                let request = ListBucketsRequest {
                    limit: Some(LIST_MAX),
                    name,
                    org,
                    ..Default::default()
                };
                within_deadline(client.list_buckets(Some(request))).await
            }
            None => {
                let limit = LIST_MAX.to_string();
                let given = [
                    ("limit", Some(limit.as_str())),
                    ("name", name),
                    ("org", org.as_deref()),
                ];
                self.get(&["api", "v2", "buckets"], &given).await
            }
        }
    }

    async fn organizations(&self, name: Option<&str>) -> Result<Organizations, ApiError> {
        match &self.client {
            Some(client) => {
                let limit = Some(i64::from(LIST_MAX));
                let org = name.map(str::to_owned);
                let request = ListOrganizationRequest {
                    limit,
                    org,
                    ..Default::default()
                };
                within_deadline(client.list_organizations(request)).await
            }
            None => {
                let limit = LIST_MAX.to_string();
                let given = [("limit", Some(limit.as_str())), ("org", name)];
                self.get(&["api", "v2", "orgs"], &given).await
            }
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, Option<&str>)],
    ) -> Result<T, ApiError> {
        let mut url = endpoint(self.influxdb.base(), segments);
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.send(self.influxdb.client().get(url)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ApiError> {
        let away = |error| ApiError::Unreachable(self.influxdb.unreachable(error));
        let request = self.influxdb.authorized(request).timeout(DEADLINE);
        let response = request.send().await.map_err(away)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = beginning(response).await.map_err(away)?;
        // A database that is not well says so in the usual shape under 503.
        if !status.is_success() && status != reqwest::StatusCode::SERVICE_UNAVAILABLE {
            let words = words_of(&headers, &body).short();
            return Err(ApiError::Status {
                status: status.as_u16(),
                words,
            });
        }
        serde_json::from_slice(&body).map_err(|error| ApiError::Malformed(error.to_string()))
    }
}

async fn within_deadline<T>(
    call: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, ApiError> {
    let away = |error: &str| ApiError::Unreachable(format!("no answer from INFLUXDB_URL: {error}"));
    match tokio::time::timeout(DEADLINE, call).await {
        Err(_) => Err(away("the deadline passed")),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(RequestError::Http { status, text })) => {
            let words = words_of(&reqwest::header::HeaderMap::new(), text.as_bytes()).short();
            Err(ApiError::Status {
                status: status.as_u16(),
                words,
            })
        }
        Ok(Err(RequestError::ReqwestProcessing { source })) if !source.is_decode() => {
            Err(away(&chain(&source.without_url())))
        }
        Ok(Err(error)) => Err(ApiError::Malformed(error.to_string())),
    }
}
