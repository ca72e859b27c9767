//! Connecting to the broker.

use deadpool_lapin::{Pool, PoolConfig, Runtime, Timeouts};
use lapin::runtime::default_runtime;
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use url::{Host, Url};

/// Connecting, opening a channel and every other call that the broker answers at once.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Asked for where `AMQP_URL` does not say `?heartbeat=`. A connection that dies without a word is
/// noticed after twice as long; with RabbitMQ's own 60 s a worker holds its deliveries for two
/// minutes. RabbitMQ's guide on heartbeats calls 5 to 20 s optimal.
const HEARTBEAT_S: u16 = 10;

/// Asked for where `AMQP_URL` does not say `?frame_max=`. lapin keeps two rings of 32 such frames a
/// connection and walks through them: at RabbitMQ's 128 KiB that is 8 MiB a connection, none of it
/// in the processor's cache when its turn comes.
const BATCH_BYTES_MAX: u16 = 16_384;

/// Connections that publish: live frames, dead letters, the workbench.
const PUBLISHING_CONNECTIONS_MAX: usize = 4;

/// How to reach the broker.
#[derive(Clone)]
pub struct BrokerOptions {
    /// `amqp://` or `amqps://`, with user, password and virtual host.
    pub url: Url,
    /// Shown in RabbitMQ's list of connections.
    pub connection_name: String,
    /// Private certificate authority and client certificate.
    pub tls: TlsFiles,
}

/// Contents of PEM files for `amqps`.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// Certificates of a private authority.
    pub ca_pem: Option<String>,
    /// Client certificate and its key.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

/// What went wrong at the broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Nothing there, or the connection broke.
    #[error(
        "AMQP_URL: cannot reach the broker at {address}: {reason}; start it, or correct the address"
    )]
    Unreachable {
        /// The address without user and password.
        address: String,
        /// The library's words.
        reason: String,
    },
    /// The broker gave no answer in time.
    #[error("the broker at {address} did not answer {what} within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// The address without user and password.
        address: String,
        /// The call.
        what: &'static str,
    },
    /// The user, password or virtual host is not accepted.
    #[error(
        "the broker at {address} refused the login of AMQP_URL: {reason}; check user, password and virtual host"
    )]
    Login {
        /// The address without user and password.
        address: String,
        /// The broker's words.
        reason: String,
    },
    /// The user lacks a permission on an exchange or a queue.
    #[error(
        "the user of AMQP_URL lacks a permission: {0}; deploy/rabbitmq lists those that it needs"
    )]
    Permission(String),
    /// Exchanges and queues are not as they must be; the text says which and what to do.
    #[error("{0}")]
    Topology(String),
    /// The channel or connection was closed while in use.
    #[error("the broker closed the channel: {0}")]
    Closed(String),
}

/// The broker: makes connections, pools those that publish and shares one for questions.
pub struct Broker {
    options: BrokerOptions,
    /// What lapin connects to: the address of the options, tuned, in [`lapin_url`]'s form.
    lapin_url: Url,
    pool: Option<Pool>,
    questions: Mutex<Option<Arc<Connection>>>,
}

impl fmt::Debug for BrokerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerOptions")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl BrokerOptions {
    /// Scheme, host, port and virtual host: what may stand in logs.
    #[must_use]
    pub fn address(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        let default = if self.url.scheme() == "amqps" {
            5671
        } else {
            5672
        };
        let port = self.url.port().unwrap_or(default);
        format!("{}://{host}:{port}{}", self.url.scheme(), self.url.path())
    }

    fn properties(&self) -> ConnectionProperties {
        ConnectionProperties::default().with_connection_name(self.connection_name.clone().into())
    }

    fn tls_config(&self) -> OwnedTLSConfig {
        OwnedTLSConfig {
            identity: self
                .tls
                .identity_pem
                .clone()
                .map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
            cert_chain: self.tls.ca_pem.clone(),
        }
    }

    fn has_private_tls(&self) -> bool {
        self.tls.ca_pem.is_some() || self.tls.identity_pem.is_some()
    }
}

/// A connection that publishes: pooled, or made for its user where the pool cannot make it.
pub(crate) enum PublishingConnection {
    Pooled(deadpool_lapin::Object),
    Own(Connection),
}

impl std::ops::Deref for PublishingConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Self::Pooled(object) => object,
            Self::Own(connection) => connection,
        }
    }
}

impl PublishingConnection {
    /// Gives the connection up for good, so that nobody gets it from the pool again.
    pub(crate) fn discard(self) {
        if let Self::Pooled(object) = self {
            drop(deadpool_lapin::Object::take(object));
        }
    }
}

/// Heartbeats, and frames of a modest size, unless the address says so itself.
fn tune(url: &mut Url) {
    for (setting, value) in [("heartbeat", HEARTBEAT_S), ("frame_max", BATCH_BYTES_MAX)] {
        if !url.query_pairs().any(|(name, _)| name == setting) {
            url.query_pairs_mut()
                .append_pair(setting, &value.to_string());
        }
    }
}

/// The address in a form that lapin connects to and to nothing else. lapin takes a host from
/// [`Url::domain`], which an IPv6 literal is not, and connects to `localhost` where there is none.
/// It percent-decodes a domain, so an IPv6 address reaches it percent-encoded.
fn lapin_url(url: &Url) -> Result<Url, &'static str> {
    let mut url = url.clone();
    if let Some(Host::Ipv6(address)) = url.host() {
        let encoded = address.to_string().replace(':', "%3A");
        url.set_host(Some(&encoded))
            .map_err(|_| "the IPv6 address cannot be encoded")?;
    }
    match url.domain() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err("it has no host"),
    }
}

impl Broker {
    /// Prepares; connects to nothing. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// No runtime, or an address without a host.
    pub fn new(mut options: BrokerOptions) -> Result<Self, BrokerError> {
        tune(&mut options.url);
        let lapin_url = lapin_url(&options.url).map_err(|reason| BrokerError::Unreachable {
            address: options.address(),
            reason: reason.to_owned(),
        })?;
        // deadpool-lapin has no way to hand certificates on, so private TLS goes around it.
        let pool = if options.has_private_tls() {
            None
        } else {
            Some(pool(&options, &lapin_url)?)
        };
        Ok(Self {
            options,
            lapin_url,
            pool,
            questions: Mutex::default(),
        })
    }

    /// Scheme, host, port and virtual host.
    #[must_use]
    pub fn address(&self) -> String {
        self.options.address()
    }

    /// A new connection of the caller's own, for consuming and for checks.
    ///
    /// # Errors
    /// [`BrokerError`]
    pub async fn connect(&self) -> Result<Connection, BrokerError> {
        let runtime = default_runtime().map_err(|error| self.error(&error))?;
        let connecting = Connection::connect_with_config(
            self.lapin_url.as_str(),
            self.options.properties(),
            self.options.tls_config(),
            runtime,
        );
        self.within("the connection", connecting).await
    }

    /// The connection, shared, for what neither publishes nor consumes: the claim to a name, and how
    /// many messages wait. One that publishes is stopped by an alarm, just when those matter.
    pub(crate) async fn connection_for_questions(&self) -> Result<Arc<Connection>, BrokerError> {
        let mut shared = self.questions.lock().await;
        if let Some(connection) = shared.as_ref().filter(|held| held.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(self.connect().await?);
        *shared = Some(Arc::clone(&connection));
        Ok(connection)
    }

    pub(crate) async fn publishing_connection(&self) -> Result<PublishingConnection, BrokerError> {
        use deadpool_lapin::PoolError;
        let Some(pool) = &self.pool else {
            return Ok(PublishingConnection::Own(self.connect().await?));
        };
        match pool.get().await {
            Ok(object) => Ok(PublishingConnection::Pooled(object)),
            Err(PoolError::Backend(error)) => Err(self.error(&error)),
            Err(PoolError::Timeout(_)) => Err(BrokerError::Timeout {
                address: self.address(),
                what: "the connection",
            }),
            Err(error) => Err(BrokerError::Unreachable {
                address: self.address(),
                reason: error.to_string(),
            }),
        }
    }

    /// Runs one call with the time limit and in the words of this crate.
    pub(crate) async fn within<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(result) => result.map_err(|error| self.error(&error)),
            Err(_) => Err(BrokerError::Timeout {
                address: self.address(),
                what,
            }),
        }
    }

    pub(crate) fn error(&self, error: &lapin::Error) -> BrokerError {
        let reason = error.to_string();
        match error.kind() {
            // A login is refused with the same code as an operation.
            ErrorKind::ProtocolError(amqp)
                if amqp.get_id() == 403 && reason.contains("access to ") =>
            {
                BrokerError::Permission(amqp.to_string())
            }
            ErrorKind::ProtocolError(amqp) if matches!(amqp.get_id(), 403 | 530) => {
                BrokerError::Login {
                    address: self.address(),
                    reason: amqp.to_string(),
                }
            }
            ErrorKind::AuthProviderError(_) => BrokerError::Login {
                address: self.address(),
                reason,
            },
            ErrorKind::ProtocolError(amqp) => BrokerError::Closed(amqp.to_string()),
            _ => BrokerError::Unreachable {
                address: self.address(),
                reason,
            },
        }
    }
}

fn pool(options: &BrokerOptions, lapin_url: &Url) -> Result<Pool, BrokerError> {
    let unusable = |reason: String| BrokerError::Unreachable {
        address: options.address(),
        reason,
    };
    let runtime = default_runtime().map_err(|error| unusable(error.to_string()))?;
    let of = options.clone();
    let manager =
        deadpool_lapin::Manager::new(lapin_url.as_str(), move || of.properties(), runtime);
    let limit = Some(CALL_TIMEOUT);
    let config = PoolConfig {
        max_size: PUBLISHING_CONNECTIONS_MAX,
        timeouts: Timeouts {
            wait: limit,
            create: limit,
            recycle: limit,
        },
        ..PoolConfig::default()
    };
    Pool::builder(manager)
        .config(config)
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_is_tuned_unless_the_address_says_so_itself() {
        for (given, asked) in [
            (
                "amqp://u:p%20w@host/v%2fh",
                "amqp://u:p%20w@host/v%2fh?heartbeat=10&frame_max=16384",
            ),
            (
                "amqps://host/?connection_timeout=5000",
                "amqps://host/?connection_timeout=5000&heartbeat=10&frame_max=16384",
            ),
            (
                "amqp://host/?heartbeat=60&frame_max=4096",
                "amqp://host/?heartbeat=60&frame_max=4096",
            ),
        ] {
            let mut url = Url::parse(given).unwrap();
            tune(&mut url);
            assert_eq!(url.as_str(), asked);
            let understood = url.as_str().parse::<lapin::uri::AMQPUri>().unwrap();
            assert!(understood.query.heartbeat.is_some() && understood.query.frame_max.is_some());
        }
    }

    #[test]
    fn lapin_connects_to_the_host_of_the_address_and_never_to_another() {
        for (given, host, port) in [
            (
                "amqp://u:p%20w@broker.example/v%2fh",
                "broker.example",
                5672,
            ),
            ("amqp://localhost:28601/%2f", "localhost", 28601),
            ("amqp://192.0.2.7:28601/%2f", "192.0.2.7", 28601),
            ("amqp://r%61bbit/%2f", "rabbit", 5672),
            ("amqp://u:p%20w@[::1]:28601/v%2fh", "::1", 28601),
            ("amqp://[2001:db8:0::5]:28601", "2001:db8::5", 28601),
            ("amqps://u:p@[fd00:1234::99]/%2f", "fd00:1234::99", 5671),
            ("amqp://[::ffff:192.0.2.7]/%2f", "::ffff:192.0.2.7", 5672),
            ("amqp://[::]/%2f", "::", 5672),
        ] {
            let url = Url::parse(given).unwrap();
            let asked = lapin_url(&url).unwrap();
            let understood: lapin::uri::AMQPUri = asked.as_str().parse().unwrap();
            assert_eq!(understood.authority.host, host, "{given}");
            assert_eq!(understood.authority.port, port, "{given}");
            // Nothing but the host changes.
            let before: lapin::uri::AMQPUri = given.parse().unwrap();
            assert_eq!(understood.authority.userinfo, before.authority.userinfo);
            assert_eq!(understood.vhost, before.vhost);
        }
        for given in ["amqp:///%2f", "amqp:/%2f", "amqp:broker"] {
            let url = Url::parse(given).unwrap();
            assert!(lapin_url(&url).is_err(), "{given}");
        }
    }

    #[tokio::test]
    async fn an_address_without_a_host_is_an_error_that_names_the_setting() {
        let options = BrokerOptions {
            url: Url::parse("amqp:///%2f").unwrap(),
            connection_name: "test".into(),
            tls: TlsFiles::default(),
        };
        let error = Broker::new(options).err().unwrap().to_string();
        assert!(error.contains("AMQP_URL"), "{error}");
        assert!(error.contains("it has no host"), "{error}");
        assert!(!error.contains("localhost"), "{error}");
    }
}
