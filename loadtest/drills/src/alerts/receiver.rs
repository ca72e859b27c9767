//! Where Alertmanager delivers: a web hook that keeps what comes, by receiver.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use loadtest_engine::ports::free_port;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One alert in one message of Alertmanager.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) receiver: String,
    pub(super) firing: bool,
    /// Alertmanager's hash of the labels.
    pub(super) fingerprint: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl Arrival {
    pub(super) fn is(&self, alert: &str, severity: &str) -> bool {
        let label = |name: &str| self.labels.get(name).map_or("", String::as_str);
        label("alertname") == alert && label("severity") == severity
    }
}

/// Alertmanager's message, as far as it is of interest.
/// <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>
#[derive(Debug, Deserialize)]
struct Message {
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
struct Alert {
    status: String,
    fingerprint: String,
    labels: BTreeMap<String, String>,
}

type Arrivals = watch::Sender<Vec<Arrival>>;

/// Listens on a loopback port of its own; all that has come, and the address.
pub(super) async fn listen() -> anyhow::Result<(watch::Receiver<Vec<Arrival>>, SocketAddr)> {
    let (sender, arrivals) = watch::channel(Vec::new());
    let listener = TcpListener::bind(("127.0.0.1", free_port()?)).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/{receiver}", post(take))
        .with_state(sender);
    tokio::spawn(async move {
        // It ends with its task only.
        let _ = axum::serve(listener, router).await;
    });
    Ok((arrivals, address))
}

async fn take(
    State(arrivals): State<Arrivals>,
    Path(receiver): Path<String>,
    body: axum::body::Bytes,
) -> StatusCode {
    let Ok(message) = serde_json::from_slice::<Message>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let at = Instant::now();
    arrivals.send_modify(|arrivals| {
        arrivals.extend(message.alerts.into_iter().map(|alert| Arrival {
            at,
            receiver: receiver.clone(),
            firing: alert.status == "firing",
            fingerprint: alert.fingerprint,
            labels: alert.labels,
        }));
    });
    StatusCode::OK
}
