//! What a source needs to know, and the address it makes of it.

use ha_protocol::AccessToken;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use url::Url;

const MIB: usize = 1024 * 1024;

/// Everything a [`crate::Source`] is made of.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Home Assistant's base URL (`http`, `https`, `ws` or `wss`); a path prefix is kept.
    pub url: Url,
    /// The long-lived access token.
    pub token: AccessToken,
    /// One subscription each.
    pub event_types: Vec<String>,
    /// Event types whose events are only counted, see [`crate::Source::watched`].
    pub watched_types: Vec<String>,
    /// For `https` and `wss`.
    pub tls: Arc<ClientConfig>,
    /// Bytes of messages that were received and not yet dropped by the caller. One message larger
    /// than all of it may be in flight beside it.
    pub queue_bytes_max: usize,
    /// The least time between two reads of the socket while data keeps coming: what arrives in the
    /// meantime is read together, for one wakeup. What arrives after a silence is read at once. Zero
    /// reads whenever something is there.
    pub read_interval: Duration,
    /// The largest message read; `get_states` of a big home is one message.
    pub message_bytes_max: usize,
    /// For name resolution, TCP, TLS and the WebSocket handshake together.
    pub connect_timeout: Duration,
    /// For each step of the beginning: authentication, then the subscriptions.
    pub auth_timeout: Duration,
    /// For one answer of Home Assistant, and for one write to the socket.
    pub request_timeout: Duration,
    /// Silence after which a `ping` is sent.
    pub ping_after: Duration,
    /// Silence after that ping which ends the session.
    pub pong_timeout: Duration,
    /// How long a shutdown waits for the subscriptions to be cancelled.
    pub unsubscribe_timeout: Duration,
    /// Reconnect delay: full jitter under this ceiling at first.
    pub backoff_first: Duration,
    /// The ceiling of the reconnect delay at last.
    pub backoff_max: Duration,
    /// Reconnect delay after a refused token, at first.
    pub auth_backoff_first: Duration,
    /// The ceiling of the delay after a refused token, at last.
    pub auth_backoff_max: Duration,
}

/// Options that no source can be made of.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// Another scheme than `http`, `https`, `ws` and `wss`.
    #[error("the scheme {0:?} is none of http, https, ws, wss")]
    Scheme(String),
    /// A URL without a host.
    #[error("the URL has no host")]
    NoHost,
    /// Nothing to subscribe to.
    #[error("there is no event type to subscribe to")]
    NoEventTypes,
}

impl SourceOptions {
    /// The contract's defaults.
    #[must_use]
    pub fn new(url: Url, token: AccessToken, tls: Arc<ClientConfig>) -> Self {
        Self {
            url,
            token,
            event_types: vec!["state_changed".to_owned()],
            watched_types: Vec::new(),
            tls,
            queue_bytes_max: 32 * MIB,
            read_interval: Duration::ZERO,
            message_bytes_max: 256 * MIB,
            connect_timeout: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            ping_after: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            unsubscribe_timeout: Duration::from_secs(5),
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            auth_backoff_first: Duration::from_secs(30),
            auth_backoff_max: Duration::from_secs(300),
        }
    }

    /// The address of the WebSocket: the base URL with `/api/websocket` at the end of its path.
    ///
    /// # Errors
    /// Where the URL has no host, or is none that a WebSocket can be at.
    pub fn websocket_url(&self) -> Result<Url, OptionsError> {
        let scheme = match self.url.scheme() {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            other => return Err(OptionsError::Scheme(other.to_owned())),
        };
        if self.url.host_str().is_none_or(str::is_empty) {
            return Err(OptionsError::NoHost);
        }
        let mut url = self.url.clone();
        url.set_scheme(scheme)
            .map_err(|()| OptionsError::Scheme(scheme.to_owned()))?;
        url.set_query(None);
        url.set_fragment(None);
        let prefix = url.path().trim_end_matches('/');
        let path = if prefix.ends_with("/api/websocket") {
            prefix.to_owned()
        } else {
            format!("{prefix}/api/websocket")
        };
        url.set_path(&path);
        Ok(url)
    }

    /// The largest interval at which the deadlines above can be looked at.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = [
            self.auth_timeout,
            self.ping_after,
            self.pong_timeout,
            self.unsubscribe_timeout,
        ]
        .into_iter()
        .min()
        .unwrap_or(self.auth_timeout);
        (shortest / 10).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> SourceOptions {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        SourceOptions::new(Url::parse(url).unwrap(), "a secret".into(), Arc::new(tls))
    }

    #[test]
    fn addresses() {
        for (base, expected) in [
            ("http://home:8123", "ws://home:8123/api/websocket"),
            ("http://home:8123/", "ws://home:8123/api/websocket"),
            ("https://home", "wss://home/api/websocket"),
            ("ws://[::1]:8123/", "ws://[::1]:8123/api/websocket"),
            (
                "wss://x.example/a/b//?q=1#f",
                "wss://x.example/a/b/api/websocket",
            ),
            (
                "http://supervisor/core",
                "ws://supervisor/core/api/websocket",
            ),
            ("ws://home:1/api/websocket", "ws://home:1/api/websocket"),
        ] {
            assert_eq!(options(base).websocket_url().unwrap().as_str(), expected);
        }
        assert_eq!(
            options("ftp://home").websocket_url(),
            Err(OptionsError::Scheme("ftp".to_owned()))
        );
        assert!(matches!(
            options("mailto:x").websocket_url(),
            Err(OptionsError::Scheme(_))
        ));
    }

    #[test]
    fn the_token_is_not_shown() {
        assert!(!format!("{:?}", options("http://home")).contains("a secret"));
    }
}
