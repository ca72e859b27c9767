//! `/log-level`: what the process logs, shown to everybody and changed from the same machine only.

use super::shared::Shared;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;

pub(super) async fn show(State(shared): State<Shared>) -> Response {
    match shared.log_level {
        Some(level) => format!("{}\n", level.current()).into_response(),
        None => no_logs(),
    }
}

/// The body is a filter, as in `RUST_LOG`; it counts until the next change, or the end of the
/// process.
pub(super) async fn change(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: String,
) -> Response {
    // Levels such as trace cost time and say much: not for everybody who reaches the metrics.
    if !is_this_machine(peer) {
        let reason = format!(
            "the log level is changed from the same machine or pod only (over loopback, for example \
             through kubectl port-forward), and this came from {}\n",
            peer.ip()
        );
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    let Some(level) = shared.log_level else {
        return no_logs();
    };
    let (before, filter) = (level.current(), body.trim());
    match level.change(filter) {
        Ok(()) => {
            tracing::warn!(before, filter, %peer, "the log level was changed");
            format!("{filter}\n").into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

fn is_this_machine(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

fn no_logs() -> Response {
    let reason = "this process keeps no log\n";
    (StatusCode::NOT_FOUND, reason).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::LogLevel;
    use axum::body::to_bytes;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use std::sync::Arc;
    use tracing_subscriber::{EnvFilter, reload};

    #[tokio::test]
    async fn a_peer_of_another_machine_changes_nothing_and_is_told_why() {
        // The handle is good for as long as the layer is there.
        let (_layer, handle) = reload::Layer::new(EnvFilter::new("info"));
        let level = LogLevel::new("info", handle);
        let shared = Shared {
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            health: crate::Health::default(),
            status: Arc::new(|| serde_json::Value::Null),
            log_level: Some(level.clone()),
        };
        let put = async |peer: &str, body: &str| {
            let peer = ConnectInfo(peer.parse().unwrap());
            let answer = change(State(shared.clone()), peer, body.to_owned()).await;
            let status = answer.status().as_u16();
            let text = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            (status, String::from_utf8_lossy(&text).into_owned())
        };
        for peer in ["10.0.0.1:1", "[::ffff:10.0.0.1]:1", "[2001:db8::1]:1"] {
            let (status, said) = put(peer, "debug").await;
            assert_eq!(status, 403, "{said}");
            assert!(
                said.contains("same machine") && said.contains("came from"),
                "{said}"
            );
        }
        assert_eq!(level.current(), "info");
        for (peer, filter) in [
            ("127.0.0.1:1", "debug"),
            ("[::1]:1", "warn"),
            ("[::ffff:127.0.0.1]:1", "ha_broker=trace,info\n"),
        ] {
            assert_eq!(
                put(peer, filter).await,
                (200, format!("{}\n", filter.trim()))
            );
            assert_eq!(level.current(), filter.trim());
        }
        let (status, said) = put("127.0.0.1:1", "loud").await;
        assert_eq!(status, 400);
        assert!(
            said.contains("loud") && said.contains("such as info"),
            "{said}"
        );
        assert_eq!(level.current(), "ha_broker=trace,info");
    }
}
