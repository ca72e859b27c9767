//! The home facts that travel in frames, asked of Home Assistant at every connection.

use ha_frame::HomeFacts;
use ha_source::{ConnectionState, Requester};
use serde::Deserialize;
use std::time::SystemTime;
use tokio::sync::watch;

/// The part of `get_config` that is of use.
#[derive(Deserialize)]
struct HomeConfig {
    time_zone: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

/// Keeps the facts fresh for as long as the process runs.
pub async fn follow(
    requester: Requester,
    mut state: watch::Receiver<ConnectionState>,
    facts: watch::Sender<Option<HomeFacts<'static>>>,
) {
    let mut asked: Option<SystemTime> = None;
    loop {
        let since = match &*state.borrow_and_update() {
            ConnectionState::Connected { since, .. } => Some(*since),
            _ => None,
        };
        if since.is_some() && since != asked {
            asked = since;
            match requester.request("get_config", serde_json::json!({})).await {
                Ok(json) => match serde_json::from_slice::<HomeConfig>(&json) {
                    Ok(config) => {
                        facts.send_replace(Some(HomeFacts {
                            time_zone: config.time_zone.map(Into::into),
                            latitude: config.latitude,
                            longitude: config.longitude,
                            ..HomeFacts::default()
                        }));
                    }
                    Err(error) => tracing::warn!(%error, "get_config could not be read"),
                },
                Err(error) => tracing::warn!(%error, "get_config was not answered"),
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
