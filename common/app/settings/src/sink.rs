//! Where points are stored.

use crate::home_assistant::url;
use crate::problems::retention;
use crate::secret::secret;
use crate::{Problems, Secret};
use clap::Args;
use ha_sink::Api;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// InfluxDB's settings.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "InfluxDB")]
pub struct InfluxArgs {
    /// Base URL of InfluxDB
    #[arg(long, env = "INFLUXDB_URL", value_name = "URL")]
    pub influxdb_url: Option<String>,
    /// API token
    #[arg(
        long,
        env = "INFLUXDB_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub influxdb_token: Option<String>,
    /// File that holds the token
    #[arg(long, env = "INFLUXDB_TOKEN_FILE", value_name = "FILE")]
    pub influxdb_token_file: Option<String>,
    /// Organisation (API v2)
    #[arg(
        long,
        env = "INFLUXDB_ORG",
        default_value = "home",
        value_name = "NAME"
    )]
    pub influxdb_org: String,
    /// Bucket; with API v1 the database
    #[arg(
        long,
        env = "INFLUXDB_BUCKET",
        default_value = "home_assistant",
        value_name = "NAME"
    )]
    pub influxdb_bucket: String,
    /// v2 for InfluxDB 2.x, 3.x and 1.8; v1 for 1.x's /write
    #[arg(long, env = "INFLUXDB_API", default_value = "v2", value_name = "v1|v2")]
    pub influxdb_api: String,
    /// User (API v1)
    #[arg(long, env = "INFLUXDB_USERNAME", value_name = "NAME")]
    pub influxdb_username: Option<String>,
    /// Password (API v1)
    #[arg(
        long,
        env = "INFLUXDB_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub influxdb_password: Option<String>,
    /// File that holds the password
    #[arg(long, env = "INFLUXDB_PASSWORD_FILE", value_name = "FILE")]
    pub influxdb_password_file: Option<String>,
}

/// InfluxDB's settings, checked.
#[derive(Debug, Clone)]
pub struct InfluxSettings {
    /// Base URL.
    pub url: Url,
    /// Which write API.
    pub version: Api,
    /// Token.
    pub token: Option<Secret>,
    /// Organisation.
    pub org: String,
    /// Bucket, or database.
    pub bucket: String,
    /// User of API v1.
    pub username: Option<String>,
    /// Password of API v1.
    pub password: Option<Secret>,
}

/// The embedded database's settings, and the choice between the two.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage")]
pub struct SinkArgs {
    /// influxdb, sqlite or null (discard, to measure the rest); unset: influxdb if INFLUXDB_URL is set
    #[arg(long, env = "SINK", value_name = "influxdb|sqlite|null")]
    pub sink: Option<String>,
    /// File of the embedded database
    #[arg(
        long,
        env = "SQLITE_PATH",
        default_value = "./ha-ingestor.db",
        value_name = "FILE"
    )]
    pub sqlite_path: PathBuf,
    /// How long the embedded database keeps points, such as 12h, 30d, 52w or 1y; 0 keeps them for ever
    #[arg(
        long,
        env = "SQLITE_RETENTION",
        default_value = "30d",
        value_name = "TIME"
    )]
    pub sqlite_retention: String,
    /// InfluxDB.
    #[command(flatten)]
    pub influx: InfluxArgs,
}

/// The embedded database's settings, checked.
#[derive(Debug, Clone)]
pub struct SqliteSettings {
    /// The file.
    pub path: PathBuf,
    /// Older points are deleted; `None` keeps them for ever.
    pub retention: Option<Duration>,
}

/// Where points are stored.
#[derive(Debug, Clone)]
pub enum SinkChoice {
    /// In InfluxDB.
    Influx(InfluxSettings),
    /// In a file of our own.
    Sqlite(SqliteSettings),
    /// Nowhere.
    Null,
}

impl SinkArgs {
    /// Whether the user named a database at all.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.sink.is_some() || self.influx.influxdb_url.is_some()
    }

    /// Checks the choice; `None` after a problem. `embedded_by_default`: whether nothing set means
    /// the embedded database, as it does for one process by itself.
    pub fn resolve(
        &self,
        problems: &mut Problems,
        embedded_by_default: bool,
    ) -> Option<SinkChoice> {
        match self.sink.as_deref() {
            Some("influxdb") => self.influx.resolve(problems).map(SinkChoice::Influx),
            Some("sqlite") => Some(self.sqlite(problems)),
            Some("null") => Some(SinkChoice::Null),
            Some(other) => {
                problems.bad("SINK", other, "influxdb, sqlite or null");
                None
            }
            None if self.influx.influxdb_url.is_some() => {
                self.influx.resolve(problems).map(SinkChoice::Influx)
            }
            None if embedded_by_default => Some(self.sqlite(problems)),
            None => {
                problems.missing(
                    "INFLUXDB_URL",
                    "several processes write together, so they need a database: set INFLUXDB_URL \
                     (or SINK=sqlite for a single worker on one machine)",
                );
                None
            }
        }
    }

    fn sqlite(&self, problems: &mut Problems) -> SinkChoice {
        SinkChoice::Sqlite(SqliteSettings {
            path: self.sqlite_path.clone(),
            retention: retention(problems, "SQLITE_RETENTION", &self.sqlite_retention),
        })
    }
}

impl InfluxArgs {
    /// Checks the settings; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<InfluxSettings> {
        let example = "http://influxdb:8086";
        let url = match &self.influxdb_url {
            None => {
                problems.missing(
                    "INFLUXDB_URL",
                    format_args!("InfluxDB's address, such as {example}"),
                );
                None
            }
            Some(text) => url(problems, "INFLUXDB_URL", text, &["http", "https"], example),
        };
        let version = match self.influxdb_api.as_str() {
            "v1" => Api::V1,
            "v2" => Api::V2,
            other => {
                problems.bad(
                    "INFLUXDB_API",
                    other,
                    "v1 (InfluxDB 1.x) or v2 (2.x, 3.x, 1.8)",
                );
                Api::V2
            }
        };
        let token = secret(
            problems,
            "INFLUXDB_TOKEN",
            self.influxdb_token.as_ref(),
            self.influxdb_token_file.as_ref(),
        );
        let password = secret(
            problems,
            "INFLUXDB_PASSWORD",
            self.influxdb_password.as_ref(),
            self.influxdb_password_file.as_ref(),
        );
        if version == Api::V2 && token.is_none() {
            problems.missing(
                "INFLUXDB_TOKEN",
                "an API token that may write to the bucket (or INFLUXDB_API=v1 for InfluxDB 1.x)",
            );
        }
        Some(InfluxSettings {
            url: url?,
            version,
            token,
            org: self.influxdb_org.clone(),
            bucket: self.influxdb_bucket.clone(),
            username: self.influxdb_username.clone(),
            password,
        })
    }
}
