//! Mode service: the workers' addresses and the shared secret.

use clap::Args;
use ha_http::{BATCH_OVERHEAD_BYTES_MAX, BODY_BYTES_MAX, BearerToken};
use ha_settings::{BatchingSettings, IntakeTokenArgs, Problems};
use url::Url;

/// How to reach the workers, as given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Mode service")]
pub struct ServiceArgs {
    /// Base URL of the workers' intake, such as http://worker:8300; a name may stand for many
    /// addresses, and several URLs may stand with commas between them
    #[arg(long, env = "ENRICHMENT_SERVICE_URL", value_name = "URL")]
    enrichment_service_url: Option<String>,
    /// The secret.
    #[command(flatten)]
    token: IntakeTokenArgs,
}

/// How to reach the workers, checked.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// Base URLs, at least one.
    pub urls: Vec<Url>,
    /// What the workers ask for.
    pub token: Option<BearerToken>,
}

impl ServiceArgs {
    /// Checks the settings; `None` after a problem. Batches must fit in what an intake takes: one
    /// closes when it has reached its limit, so it may hold one event more than that.
    pub fn resolve(
        &self,
        batching: &BatchingSettings,
        problems: &mut Problems,
    ) -> Option<ServiceSettings> {
        let token = self.token.resolve(problems);
        let token = token.and_then(|token| BearerToken::new(token.reveal()));
        let room = BODY_BYTES_MAX - BATCH_OVERHEAD_BYTES_MAX;
        let (batch, event) = (batching.bytes_max, batching.event_bytes_max);
        if batch.saturating_add(event) > room {
            problems.other(format!(
                "FRAME_BYTES_MAX ({batch}) and EVENT_BYTES_MAX ({event}) are together more than \
                 {room} bytes, which is what a worker's intake takes in one batch; lower them"
            ));
        }
        let Some(text) = &self.enrichment_service_url else {
            problems.missing(
                "ENRICHMENT_SERVICE_URL",
                "the workers' INTAKE_ADDR as a URL, such as http://worker:8300",
            );
            return None;
        };
        match ha_http::parse_urls(text) {
            Ok(urls) => Some(ServiceSettings { urls, token }),
            Err(valid) => {
                problems.bad_secret("ENRICHMENT_SERVICE_URL", valid);
                None
            }
        }
    }
}
