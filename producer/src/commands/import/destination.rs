use crate::config::ServiceSettings;
use ha_enrich::Options;
use ha_settings::{SinkChoice, WriteBatchSettings};
use url::Url;

/// Batches on their way at one time.
pub(super) const BATCHES_UNDER_WAY_MAX: usize = 64;

/// Where batches go.
#[derive(Debug)]
pub(super) enum Destination {
    Broker(Url),
    Service(ServiceSettings),
    Sink {
        sink: SinkChoice,
        batch: WriteBatchSettings,
        enrichment: Box<Options>,
    },
}
