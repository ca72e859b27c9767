use std::time::Duration;

use anyhow::Context as _;
use reqwest::Client;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A client for the calls of this crate. It keeps no connection: each test has a runtime of its
/// own, and a connection dies with the runtime that it was opened in.
pub(crate) fn client() -> anyhow::Result<Client> {
    // Whoever comes first installs it; reqwest panics without one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(TIMEOUT)
        .build()
        .context("building the HTTP client")
}

/// Percent-encodes all but RFC 3986's unreserved characters: fit for a path segment and a query.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
