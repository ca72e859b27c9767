//! Settings of the InfluxDB client and what is derived from them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::HeaderValue;
use url::Url;

use super::AttributeFields;

/// Which write endpoint the database has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/write`: InfluxDB 1.x.
    V1,
    /// `/api/v2/write`: InfluxDB 2.x, 3.x and 1.8.
    V2,
}

/// Settings of [`InfluxDb`](crate::InfluxDb). `Debug` prints no secret.
#[derive(Clone)]
pub struct InfluxDbOptions {
    /// Base address, `http` or `https`; a path is kept in front of the endpoints.
    pub url: String,
    /// Which write endpoint to use.
    pub api: Api,
    /// API token, sent as `Authorization: Token`.
    pub token: Option<String>,
    /// Organisation by name; v2 only. InfluxDB 2.x requires it, 1.8 and 3.x skip it.
    pub org: Option<String>,
    /// Bucket; with v1 the database.
    pub bucket: String,
    /// User of InfluxDB 1.x; if set, sent as basic authentication in place of the token.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// Bodies of at least this size are compressed; `usize::MAX` compresses none.
    pub gzip_bytes_min: usize,
    /// From the start of a write request to the end of its answer; in a query, the longest pause.
    pub timeout: Duration,
    /// Trust roots and client certificate for `https`; `None` takes the platform's roots.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Which fields may be left out of a point that the database does not take with them.
    pub attribute_fields: AttributeFields,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The address.
    #[error("INFLUXDB_URL {0}")]
    Url(String),
    /// A secret with bytes that no HTTP header can carry.
    #[error("{0} contains characters that cannot be sent in a header (a line break at its end?)")]
    Secret(&'static str),
    /// The bucket is empty.
    #[error("INFLUXDB_BUCKET is empty; set it to the bucket (v1: the database) to write to")]
    Bucket,
    /// The HTTP client could not be made.
    #[error("cannot prepare the HTTP client: {0}")]
    Client(String),
}

impl InfluxDbOptions {
    /// Options with the documented defaults: no secrets, bodies of 1 KiB and more compressed, 30 s.
    #[must_use]
    pub fn new(url: impl Into<String>, api: Api, bucket: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api,
            token: None,
            org: None,
            bucket: bucket.into(),
            username: None,
            password: None,
            gzip_bytes_min: 1024,
            timeout: Duration::from_secs(30),
            tls: None,
            attribute_fields: AttributeFields::default(),
        }
    }

    pub(super) fn base_url(&self) -> Result<Url, OptionsError> {
        let wrong = |what: &str| OptionsError::Url(what.to_owned());
        // The address is not printed before it is known to hold no password.
        let url = Url::parse(&self.url).map_err(|error| {
            wrong(&format!(
                "is not an address ({error}); expected one like http://influxdb:8086"
            ))
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "contains a user or password; use INFLUXDB_USERNAME and INFLUXDB_PASSWORD, or \
                 INFLUXDB_TOKEN",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "contains a query; give only the base, and the bucket in INFLUXDB_BUCKET",
            ));
        }
        if self.bucket.is_empty() {
            return Err(OptionsError::Bucket);
        }
        Ok(url)
    }

    pub(super) fn write_url(&self, base: &Url) -> Url {
        match self.api {
            Api::V2 => {
                let mut url = endpoint(base, &["api", "v2", "write"]);
                let mut query = url.query_pairs_mut();
                if let Some(org) = &self.org {
                    query.append_pair("org", org);
                }
                query
                    .append_pair("bucket", &self.bucket)
                    .append_pair("precision", "ns");
                drop(query);
                url
            }
            Api::V1 => {
                let mut url = endpoint(base, &["write"]);
                // 1.x takes "n"; it reads a precision that it does not know as nanoseconds.
                url.query_pairs_mut()
                    .append_pair("db", &self.bucket)
                    .append_pair("precision", "n");
                url
            }
        }
    }

    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, OptionsError> {
        let (text, variable) = if let Some(username) = &self.username {
            let pair = format!(
                "{username}:{}",
                self.password.as_deref().unwrap_or_default()
            );
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            (format!("Basic {encoded}"), "INFLUXDB_USERNAME")
        } else if let Some(token) = &self.token {
            (format!("Token {token}"), "INFLUXDB_TOKEN")
        } else {
            return Ok(None);
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| OptionsError::Secret(variable))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// A text from outside without the secrets, should it repeat them.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let secrets = [&self.token, &self.password].into_iter().flatten();
        secrets
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| {
                text.replace(secret.as_str(), "<redacted>")
            })
    }
}

/// The base with more path segments; its own path stays in front.
pub(crate) fn endpoint(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Never an error for http and https, which are the only schemes that get here.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

impl fmt::Debug for InfluxDbOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |value: &Option<String>| value.as_ref().map(|_| "<redacted>");
        // An address that cannot be parsed may hold a password anywhere.
        let url = self.base_url().map(|url| url.to_string());
        formatter
            .debug_struct("InfluxDbOptions")
            .field("url", &url.as_deref().unwrap_or("<unusable>"))
            .field("api", &self.api)
            .field("token", &secret(&self.token))
            .field("org", &self.org)
            .field("bucket", &self.bucket)
            .field("username", &self.username)
            .field("password", &secret(&self.password))
            .field("gzip_bytes_min", &self.gzip_bytes_min)
            .field("timeout", &self.timeout)
            .field("tls", &self.tls.is_some())
            .field("attribute_fields", &self.attribute_fields)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str, api: Api) -> InfluxDbOptions {
        InfluxDbOptions {
            org: Some("my org".into()),
            ..InfluxDbOptions::new(url, api, "a/b&c")
        }
    }

    #[test]
    fn the_endpoints_keep_the_path_in_front() {
        for (url, api, expected) in [
            (
                "http://db:8086",
                Api::V2,
                "http://db:8086/api/v2/write?org=my+org&bucket=a%2Fb%26c&precision=ns",
            ),
            (
                "https://x/influx/",
                Api::V2,
                "https://x/influx/api/v2/write?org=my+org&bucket=a%2Fb%26c&precision=ns",
            ),
            (
                "https://x/influx",
                Api::V1,
                "https://x/influx/write?db=a%2Fb%26c&precision=n",
            ),
        ] {
            let options = options(url, api);
            let base = options.base_url().unwrap();
            assert_eq!(options.write_url(&base).as_str(), expected);
        }
    }

    #[test]
    fn bad_addresses_are_named_without_their_password() {
        for url in [
            "",
            "db:8086",
            "ftp://db",
            "http://u:hunter2@db",
            "http://db?u=hunter2",
            "hunter2://",
        ] {
            let options = options(url, Api::V2);
            let error = options.base_url().unwrap_err().to_string();
            assert!(error.starts_with("INFLUXDB_URL "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
            assert!(!format!("{options:?}").contains("hunter2"));
        }
    }

    #[test]
    fn secrets_are_neither_printed_nor_echoed() {
        let mut options = options("http://db", Api::V1);
        options.token = Some("sekret".into());
        options.password = Some("hunter2".into());
        let debug = format!("{options:?} {:?}", options.authorization().unwrap());
        assert!(
            !debug.contains("sekret") && !debug.contains("hunter2"),
            "{debug}"
        );
        assert_eq!(
            options.redacted("bad sekret hunter2"),
            "bad <redacted> <redacted>"
        );
        options.token = Some("line\n".into());
        assert!(
            options
                .authorization()
                .unwrap_err()
                .to_string()
                .contains("INFLUXDB_TOKEN")
        );
        options.username = Some("u".into());
        assert_eq!(
            options.authorization().unwrap().unwrap(),
            "Basic dTpodW50ZXIy"
        );
    }
}
