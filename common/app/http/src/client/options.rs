//! How to reach the workers.

use crate::BearerToken;
use ha_resilience::BreakerOptions;
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How to reach the workers.
#[derive(Clone)]
pub struct ClientOptions {
    /// Base URLs of workers (`ENRICHMENT_SERVICE_URL`); a name may stand for many addresses.
    pub urls: Vec<Url>,
    /// The workers' `INTAKE_TOKEN`.
    pub token: Option<BearerToken>,
    /// For `https`.
    pub tls: Arc<ClientConfig>,
    /// For one connection.
    pub connect_timeout: Duration,
    /// For one attempt, its answer included. No further attempt begins after it.
    pub request_timeout: Duration,
    /// How often names are resolved again.
    pub resolve_every: Duration,
    /// Addresses of names that no name server is asked for, like curl's `--resolve`.
    pub known_names: BTreeMap<String, Vec<IpAddr>>,
    /// When a target is skipped, and for how long.
    pub breaker: BreakerOptions,
    /// Batches of at least this many bytes travel compressed ([`ha_batch::compress`]); `None`: none do.
    pub compress_bytes_min: Option<usize>,
}

impl ClientOptions {
    /// The defaults: 3 s, 12 s (longer than the intake takes to say that it is not stored yet),
    /// 5 s; three failures in a row, 250 ms to 5 s.
    #[must_use]
    pub fn new(urls: Vec<Url>, token: Option<BearerToken>, tls: Arc<ClientConfig>) -> Self {
        Self {
            urls,
            token,
            tls,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(12),
            resolve_every: Duration::from_secs(5),
            known_names: BTreeMap::new(),
            breaker: BreakerOptions {
                failures_in_a_row_max: 3,
                blocked_first: Duration::from_millis(250),
                blocked_max: Duration::from_secs(5),
            },
            compress_bytes_min: None,
        }
    }
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("urls", &self.addresses())
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// The base URLs, fit for logs.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.urls.iter().map(shown).collect()
    }
}

/// A URL without user and password.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// Reads `ENRICHMENT_SERVICE_URL`: one URL, or several with commas between them.
///
/// # Errors
/// What would be valid. The text is not repeated: it may hold a password.
pub fn parse_urls(text: &str) -> Result<Vec<Url>, &'static str> {
    let url = |part: &str| match Url::parse(part) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("a URL such as http://worker:8300, or several with commas between them"),
    };
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let urls: Vec<_> = parts.map(url).collect::<Result<_, _>>()?;
    match urls.is_empty() {
        true => url("").map(|url| vec![url]),
        false => Ok(urls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_url_or_several() {
        let read = |text| parse_urls(text).map(|urls| urls.iter().map(Url::to_string).collect());
        assert_eq!(read("http://a:1"), Ok(vec!["http://a:1/".to_owned()]));
        let two = vec!["http://a:1/".to_owned(), "https://b/x".to_owned()];
        assert_eq!(read(" http://a:1, https://b/x ,"), Ok(two));
        for bad in ["", ",", "a:1", "ftp://a", "http://a,b", "amqp://a"] {
            assert!(parse_urls(bad).is_err(), "{bad}");
        }
    }
}
