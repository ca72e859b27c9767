//! Would a write be taken now? What `check`, the start and `/readyz` ask.
//!
//! A write without points decides, because it is the only question that every InfluxDB answers and
//! that asks for exactly what writing needs: a token that may only write sees no buckets in the v2
//! API, and a 1.x behind a v2-shaped front has no such API. The API is asked for the version and
//! the retention, and for what is there instead when something is missing.

use influxdb2::models::health::Status;

use super::{Answer, Api, InfluxDb, endpoint, words_of};
use crate::influxdb2_api::{ApiError, V2Api};
use crate::query::QueryError;
use crate::{ProbeError, ProbeReport};

/// How many names of buckets or organisations an error lists.
const NAMES_MAX: usize = 10;

impl InfluxDb {
    /// Tries address, version, credentials and bucket without storing anything.
    ///
    /// # Errors
    /// What is missing and its remedy.
    pub async fn probe(&self) -> Result<ProbeReport, ProbeError> {
        let mut steps = Vec::new();
        let version = match self.options().api {
            Api::V1 => self.ping(&mut steps).await?,
            Api::V2 => self.health(&mut steps).await?,
        };
        let bucket = &self.options().bucket;
        match self.post_no_points().await {
            Answer::Unavailable { reason, .. } => return Err(unreachable(reason)),
            Answer::Refused { reason, remedy } => {
                let hint = self.what_is_there(&reason).await;
                return Err(ProbeError {
                    reason,
                    remedy: format!("{remedy}{hint}"),
                    transient: false,
                });
            }
            Answer::Stored | Answer::Lines(_) | Answer::TooLarge(_) => {
                steps.push(format!("a write without points to {bucket:?} was accepted"));
            }
        }
        if self.options().api == Api::V2 {
            steps.push(self.retention().await);
        }
        let base = self.base();
        Ok(ProbeReport {
            target: format!("InfluxDB at {base}, bucket {bucket:?}"),
            version,
            steps,
        })
    }

    /// Creates the bucket (v1: the database) without a limit on retention. Only on request: a
    /// misspelt INFLUXDB_BUCKET should be reported and not become true.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub async fn create_bucket(&self) -> Result<(), ProbeError> {
        let bucket = &self.options().bucket;
        let failed = |reason: String, transient| ProbeError {
            reason: self.options().redacted(&reason),
            remedy: format!("create {bucket:?} with the database's own tools"),
            transient,
        };
        match self.options().api {
            Api::V1 => {
                let name = bucket.replace('\\', "\\\\").replace('"', "\\\"");
                let created = self
                    .query(&format!("CREATE DATABASE \"{name}\""), |_| {})
                    .await;
                created.map_err(|error| {
                    failed(
                        error.to_string(),
                        matches!(error, QueryError::Unavailable(_)),
                    )
                })
            }
            Api::V2 => V2Api::new(self)
                .create_bucket(bucket)
                .await
                .map_err(|error| {
                    failed(error.to_string(), matches!(error, ApiError::Unreachable(_)))
                }),
        }
    }

    async fn ping(&self, steps: &mut Vec<String>) -> Result<Option<String>, ProbeError> {
        let url = endpoint(self.base(), &["ping"]);
        let request = self
            .authorized(self.client().get(url))
            .timeout(self.options().timeout);
        let response = request
            .send()
            .await
            .map_err(|error| unreachable(self.unreachable(error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let version = headers
            .get("x-influxdb-version")
            .and_then(|value| value.to_str().ok());
        let body = super::beginning(response).await.unwrap_or_default();
        if status.is_success() {
            steps.push("GET /ping: answered".to_owned());
        } else {
            let words = words_of(&headers, &body);
            let said = self.options().redacted(&words.short());
            steps.push(format!(
                "GET /ping: {status}: {said}; the write below decides"
            ));
        }
        Ok(version.map(str::to_owned))
    }

    async fn health(&self, steps: &mut Vec<String>) -> Result<Option<String>, ProbeError> {
        match V2Api::new(self).health().await {
            Ok(health) if health.status == Status::Fail => Err(ProbeError {
                reason: format!(
                    "the database says that it is not well: {}",
                    health.message.as_deref().unwrap_or("no explanation")
                ),
                remedy: "look at the database's log".to_owned(),
                transient: true,
            }),
            Ok(health) => {
                steps.push("GET /health: pass".to_owned());
                Ok(health.version)
            }
            Err(ApiError::Unreachable(reason)) => {
                Err(unreachable(self.options().redacted(&reason)))
            }
            Err(error) => {
                let said = self.options().redacted(&error.to_string());
                steps.push(format!("GET /health: {said}; the write below decides"));
                Ok(None)
            }
        }
    }

    /// How long the bucket keeps its points, as a sentence.
    async fn retention(&self) -> String {
        match V2Api::new(self).find_bucket(&self.options().bucket).await {
            Ok(Some(bucket)) => match bucket
                .retention_rules
                .first()
                .map(|rule| rule.every_seconds)
            {
                Some(seconds) if seconds > 0 => {
                    format!("the bucket keeps points for {} h", seconds / 3600)
                }
                _ => "the bucket keeps points for ever".to_owned(),
            },
            Ok(None) => "the token may not list the bucket; its retention is unknown".to_owned(),
            Err(error) => {
                let said = self.options().redacted(&error.to_string());
                format!("GET /api/v2/buckets: {said}; the bucket's retention is unknown")
            }
        }
    }

    /// The names to choose from, if the API shows any: best effort, after a refusal.
    async fn what_is_there(&self, reason: &str) -> String {
        if self.options().api == Api::V1 {
            return String::new();
        }
        let api = V2Api::new(self);
        let (kind, names) = if reason.contains("organization") {
            ("organisations", api.organization_names().await)
        } else if reason.contains("bucket") {
            ("buckets", api.bucket_names().await)
        } else {
            return String::new();
        };
        match names {
            Ok(names) if !names.is_empty() => {
                let shown: Vec<_> = names.iter().take(NAMES_MAX).map(String::as_str).collect();
                format!(" (visible {kind}: {})", shown.join(", "))
            }
            _ => String::new(),
        }
    }
}

fn unreachable(reason: String) -> ProbeError {
    ProbeError {
        reason,
        remedy: "start the database, or correct INFLUXDB_URL (and TLS_CA_FILE for a private CA)"
            .to_owned(),
        transient: true,
    }
}
