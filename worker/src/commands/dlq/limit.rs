//! Whether the broker drops dead letters that are read often.
//!
//! A quorum queue counts a delivery for every look at a dead letter. RabbitMQ 3.x has no limit unless
//! somebody sets one; from 4.0 on the default is 20, and the dead letters' queue must have
//! `delivery-limit = -1` by policy. AMQP says nothing of policies: only the management API does.

use anyhow::{Context, bail};
use ha_broker::topology;
use ha_settings::TlsSettings;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(5);

/// `Connection.Start` of RabbitMQ is half a kilobyte.
const START_BYTES_MAX: usize = 16 * 1024;

/// What is known of the dead letters' queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryLimit {
    /// Dead letters may be looked at as often as one likes.
    None,
    /// There may be one.
    Unknown,
}

/// Finds out, or refuses.
pub(crate) async fn delivery_limit(
    url: &Url,
    management: Option<&Url>,
    tls: &TlsSettings,
) -> anyhow::Result<DeliveryLimit> {
    let version = tokio::time::timeout(TIMEOUT, server_version(url, tls))
        .await
        .ok()
        .flatten();
    let major = version
        .as_deref()
        .and_then(|text| text.split('.').next()?.parse::<u32>().ok());
    match (major, management) {
        (_, Some(management)) => {
            let queue = queue(url, management, tls).await?;
            judge(&queue, major)?;
            Ok(DeliveryLimit::None)
        }
        (Some(..=3), None) => Ok(DeliveryLimit::None),
        (_, None) => {
            eprintln!(
                "warning: RabbitMQ {} drops a dead letter that was delivered 20 times, unless a policy \
                 sets delivery-limit = -1 on {}. Every look counts. Set RABBITMQ_MANAGEMENT_URL, \
                 so that this can be checked; until then dead letters that were looked at often are \
                 left alone.",
                version.as_deref().unwrap_or("(of unknown version)"),
                topology::DEAD_LETTERS_QUEUE
            );
            Ok(DeliveryLimit::Unknown)
        }
    }
}

/// The policy wins over the argument only if it is lower; -1 stands for no limit from 4.0 on, and
/// on 3.x it drops the dead letter at its first return.
fn judge(queue: &Value, major: Option<u32>) -> anyhow::Result<()> {
    let policy = queue["effective_policy_definition"]["delivery-limit"].as_i64();
    let argument = queue["arguments"]["x-delivery-limit"].as_i64();
    let name = topology::DEAD_LETTERS_QUEUE;
    match (major, policy.or(argument)) {
        (Some(..=3), None) | (Some(4..) | None, Some(-1)) => Ok(()),
        (Some(..=3), Some(limit)) => bail!(
            "{name} has the delivery limit {limit}: reading would drop dead letters. Take it out of \
             the policy (RabbitMQ 3 has no limit without it)"
        ),
        (_, Some(limit)) => bail!(
            "{name} has the delivery limit {limit}: reading would drop dead letters. Set the policy \
             delivery-limit = -1 on it (deploy/rabbitmq has it)"
        ),
        (_, None) => bail!(
            "{name} has RabbitMQ 4's default delivery limit of 20: reading would drop dead letters. \
             Set the policy delivery-limit = -1 on it (deploy/rabbitmq has it)"
        ),
    }
}

async fn queue(url: &Url, management: &Url, tls: &TlsSettings) -> anyhow::Result<Value> {
    let mut address = management.clone();
    // The virtual host is percent-encoded already, but for a slash at its beginning.
    let vhost = url.path().strip_prefix('/').unwrap_or_default();
    let decoded = |text: &str| {
        let pairs = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pairs.as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
    };
    address.set_path(&format!(
        "/api/queues/{vhost}/{}",
        topology::DEAD_LETTERS_QUEUE
    ));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.client.as_ref().clone())
        .timeout(TIMEOUT)
        .build()?;
    let user = decoded(url.username()).unwrap_or_default();
    let password = url.password().and_then(decoded);
    let answer = client.get(address).basic_auth(user, password).send().await;
    let answer = answer
        .map_err(reqwest::Error::without_url)
        .context("RABBITMQ_MANAGEMENT_URL")?;
    let status = answer.status();
    if !status.is_success() {
        bail!(
            "RABBITMQ_MANAGEMENT_URL answers {status}: the user of AMQP_URL needs the tag \
             monitoring (or management) to check the queue's delivery limit"
        );
    }
    Ok(answer.json().await.map_err(reqwest::Error::without_url)?)
}

/// The broker tells its version before anyone logs in; the client library does not hand it on.
async fn server_version(url: &Url, tls: &TlsSettings) -> Option<String> {
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    let is_tls = url.scheme() == "amqps";
    let port = url.port().unwrap_or(if is_tls { 5671 } else { 5672 });
    let socket = TcpStream::connect((host.as_str(), port)).await.ok()?;
    if !is_tls {
        return greeting(socket).await;
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.client));
    greeting(
        connector
            .connect(ServerName::try_from(host).ok()?, socket)
            .await
            .ok()?,
    )
    .await
}

async fn greeting(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> Option<String> {
    socket.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
    // A batch: type, channel, size, payload, end.
    let mut head = [0_u8; 7];
    socket.read_exact(&mut head).await.ok()?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let mut start = vec![0; size.min(START_BYTES_MAX)];
    socket.read_exact(&mut start).await.ok()?;
    version_in(&start)
}

/// The field `version` of the table of server properties: its name with its length, `S`, and the
/// text with its length (AMQP 0-9-1, 4.2.5.5).
fn version_in(start: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"\x07versionS";
    let at = start.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = start.get(at..at + 4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let text = start.get(at + 4..)?.get(..length)?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_version_is_read_out_of_the_greeting() {
        let mut start =
            b"\x00\x0a\x00\x0a\x00\x09\x00\x00\x01\x00\x07productS\x00\x00\x00\x08RabbitMQ"
                .to_vec();
        assert_eq!(version_in(&start), None);
        start.extend_from_slice(b"\x07versionS\x00\x00\x00\x053.13.7");
        assert_eq!(version_in(&start).as_deref(), Some("3.13."));
        start.truncate(start.len() - 3);
        assert_eq!(version_in(&start), None);
    }

    #[test]
    fn only_a_queue_without_a_limit_is_read() {
        let none = json!({"arguments": {"x-queue-type": "quorum"}});
        let unlimited = json!({"effective_policy_definition": {"delivery-limit": -1}});
        let limited = json!({"effective_policy_definition": {"delivery-limit": 7}});
        assert!(judge(&none, Some(3)).is_ok());
        assert!(judge(&none, Some(4)).is_err());
        assert!(judge(&unlimited, Some(4)).is_ok());
        assert!(
            judge(&unlimited, Some(3)).is_err(),
            "3.x drops at the first return"
        );
        for major in [Some(3), Some(4), None] {
            assert!(judge(&limited, major).is_err());
        }
    }
}
