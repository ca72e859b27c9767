//! The HTTP address for people, probes and Prometheus.

mod log_level;
mod shared;

use crate::Health;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use shared::Shared;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use shared::StatusSource;

/// Of a request: a log filter is the longest that anybody sends.
const BODY_BYTES_MAX: usize = 4 << 10;

/// The address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "ADMIN_ADDR: cannot listen on {address}: {source}; free it, or set ADMIN_ADDR to another address"
)]
pub struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The bound address, not yet served.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds the address.
    ///
    /// # Errors
    /// [`AdminError`]: in use, or not this machine's.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| AdminError { address, source })?;
        let address = listener.local_addr().unwrap_or(address);
        tracing::info!(address = %address, "health, metrics and status");
        Ok(Self { listener, address })
    }

    /// The bound address, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(
        self,
        metrics: PrometheusHandle,
        health: Health,
        status: StatusSource,
        stop: CancellationToken,
    ) {
        let router = Router::new()
            .route("/", get(crate::page::page))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(prometheus))
            .route(
                "/status",
                get(|State(shared): State<Shared>| async move { Json((shared.status)()) }),
            )
            .route("/log-level", get(log_level::show).put(log_level::change))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(Shared {
                metrics,
                health,
                status,
                log_level: crate::logs::level(),
            });
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let served = axum::serve(self.listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "the admin address is no longer served");
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let reasons = shared.health.reasons();
    if reasons.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response()
}

async fn prometheus(State(shared): State<Shared>) -> Response {
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], shared.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn readiness_carries_its_reasons_and_counters_begin_at_zero() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let health = Health::starting(&["broker"]);
        let metrics = crate::install_metrics("test").unwrap();
        metrics::counter!("ha_ingestor_events_lost_total", "reason" => "x").increment(0);
        let admin = Admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let base = format!("http://{}", admin.address());
        let stop = CancellationToken::new();
        let status: StatusSource = Arc::new(|| serde_json::json!({"mode": "inline"}));
        let served = tokio::spawn(admin.serve(metrics, health.clone(), status, stop.clone()));

        let get = async |path: &str| {
            let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(get("/readyz").await, (503, "broker: starting\n".into()));
        assert_eq!(get("/healthz").await.0, 200, "starting");
        health.ready("broker");
        assert_eq!(get("/readyz").await, (200, "ready\n".into()));
        assert_eq!(get("/healthz").await.0, 200);
        assert_eq!(get("/status").await.1, r#"{"mode":"inline"}"#);
        let (_, text) = get("/metrics").await;
        assert!(
            text.contains("ha_ingestor_events_lost_total{reason=\"x\"} 0"),
            "{text}"
        );
        assert!(text.contains("ha_ingestor_build_info"), "{text}");
        let shutdown = CancellationToken::new();
        health.ends_with(&shutdown);
        assert_eq!(get("/readyz").await.0, 200);
        shutdown.cancel();
        let (status, said) = get("/readyz").await;
        assert_eq!(status, 503, "draining");
        assert!(said.starts_with("shutdown: "), "{said}");
        assert_eq!(get("/healthz").await.0, 200, "draining");
        assert_eq!(get("/log-level").await.0, 404, "this test keeps no log");
        stop.cancel();
        served.await.unwrap();
    }
}
