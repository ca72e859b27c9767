use crate::config::ServiceSettings;
use ha_enrich::Options;
use ha_settings::{BatchSettings, SinkChoice};
use url::Url;

/// Frames on their way at one time.
pub(super) const FRAMES_UNDER_WAY_MAX: usize = 64;

/// Where frames go.
#[derive(Debug)]
pub(super) enum Destination {
    Broker(Url),
    Service(ServiceSettings),
    Sink {
        sink: SinkChoice,
        batch: BatchSettings,
        enrichment: Box<Options>,
    },
}
