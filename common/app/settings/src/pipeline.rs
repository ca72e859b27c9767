//! Framing, batching and what becomes a field.

use crate::problems::{boolean, list, number};
use crate::{Problems, SchemaArgs};
use clap::Args;
use ha_enrich::{AttributePolicy, ExtraTag, Schema};
use std::collections::HashSet;
use std::time::Duration;

/// A batch of some 25 events: a home's are smaller, and its broker has no lack of room. What it is
/// worth for larger ones stands in `docs/performance.md`.
const COMPRESS_BYTES_MIN: usize = 32 << 10;

/// Framing, at the producer.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Frames")]
pub struct BatchingArgs {
    /// Events in one message at most
    #[arg(
        long,
        env = "FRAME_EVENTS_MAX",
        default_value = "250",
        value_name = "COUNT"
    )]
    pub frame_events_max: String,
    /// Bytes of event JSON in one message at most (one larger event travels alone)
    #[arg(
        long,
        env = "FRAME_BYTES_MAX",
        default_value = "1048576",
        value_name = "BYTES"
    )]
    pub frame_bytes_max: String,
    /// Milliseconds between two messages at least, unless one is full: meanwhile events gather
    #[arg(
        long,
        env = "FRAME_AGE_MS_MAX",
        default_value = "16",
        value_name = "MS"
    )]
    pub frame_age_ms_max: String,
    /// Which messages travel compressed: those of many events (auto), all, or none
    #[arg(
        long,
        env = "FRAME_COMPRESSION",
        default_value = "auto",
        value_name = "auto|zstd|none"
    )]
    pub frame_compression: String,
    /// Larger events become dead letters
    #[arg(
        long,
        env = "EVENT_BYTES_MAX",
        default_value = "262144",
        value_name = "BYTES"
    )]
    pub event_bytes_max: String,
}

/// Framing, checked.
#[derive(Debug, Clone)]
pub struct BatchingSettings {
    /// Events in one batch.
    pub events_max: usize,
    /// Bytes of event JSON in one batch.
    pub bytes_max: usize,
    /// The least time between two batches that are not full.
    pub age_max: Duration,
    /// Batches of at least this many bytes travel compressed; `None`: none do.
    pub compress_bytes_min: Option<usize>,
    /// Larger events become dead letters.
    pub event_bytes_max: usize,
}

impl BatchingArgs {
    /// Checks the settings.
    pub fn resolve(&self, problems: &mut Problems) -> BatchingSettings {
        let age_ms = number(
            problems,
            "FRAME_AGE_MS_MAX",
            &self.frame_age_ms_max,
            0..=1_000_u64,
        );
        let compress_bytes_min = match self.frame_compression.trim() {
            "auto" => Some(COMPRESS_BYTES_MIN),
            "zstd" => Some(0),
            "none" => None,
            other => {
                problems.bad("FRAME_COMPRESSION", other, "auto, zstd or none");
                None
            }
        };
        BatchingSettings {
            events_max: number(
                problems,
                "FRAME_EVENTS_MAX",
                &self.frame_events_max,
                1..=1_000,
            ),
            bytes_max: number(
                problems,
                "FRAME_BYTES_MAX",
                &self.frame_bytes_max,
                1..=16 << 20,
            ),
            age_max: Duration::from_millis(age_ms),
            compress_bytes_min,
            event_bytes_max: number(
                problems,
                "EVENT_BYTES_MAX",
                &self.event_bytes_max,
                1_024..=16 << 20,
            ),
        }
    }
}

/// Batching, wherever points are written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Batches")]
pub struct WriteBatchArgs {
    /// Points in one write at most
    #[arg(
        long,
        env = "BATCH_POINTS_MAX",
        default_value = "5000",
        value_name = "COUNT"
    )]
    pub batch_points_max: String,
    /// Milliseconds between two writes at least, unless one is full: meanwhile points gather
    #[arg(
        long,
        env = "BATCH_AGE_MS_MAX",
        default_value = "10",
        value_name = "MS"
    )]
    pub batch_age_ms_max: String,
    /// Events held at one time, about: the broker counts messages, of 100 events in this reckoning
    #[arg(
        long,
        env = "PREFETCH_EVENTS_MAX",
        default_value = "20000",
        value_name = "COUNT"
    )]
    pub prefetch_events_max: String,
    /// Writes to the database at one time
    #[arg(
        long,
        env = "WRITES_IN_FLIGHT_MAX",
        default_value = "4",
        value_name = "COUNT"
    )]
    pub writes_in_flight_max: String,
}

/// Batching, checked.
#[derive(Debug, Clone)]
pub struct WriteBatchSettings {
    /// Points in one write.
    pub points_max: usize,
    /// Between two writes.
    pub age_max: Duration,
    /// Events held.
    pub prefetch_events_max: usize,
    /// Writes at one time.
    pub writes_in_flight_max: usize,
}

impl WriteBatchArgs {
    /// Checks the settings, and that they fit each other.
    pub fn resolve(&self, problems: &mut Problems) -> WriteBatchSettings {
        let points_max = number(
            problems,
            "BATCH_POINTS_MAX",
            &self.batch_points_max,
            1..=100_000,
        );
        let prefetch = &self.prefetch_events_max;
        let prefetch_events_max =
            number(problems, "PREFETCH_EVENTS_MAX", prefetch, 100..=1_000_000);
        if points_max > prefetch_events_max {
            problems.other(format!(
                "BATCH_POINTS_MAX ({points_max}) is more than PREFETCH_EVENTS_MAX \
                 ({prefetch_events_max}): no batch would ever be full; lower the one or raise the other"
            ));
        }
        let age_ms = number(
            problems,
            "BATCH_AGE_MS_MAX",
            &self.batch_age_ms_max,
            0..=60_000_u64,
        );
        let writes = &self.writes_in_flight_max;
        WriteBatchSettings {
            points_max,
            age_max: Duration::from_millis(age_ms),
            prefetch_events_max,
            writes_in_flight_max: number(problems, "WRITES_IN_FLIGHT_MAX", writes, 1..=64),
        }
    }
}

/// Which attributes become fields.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Fields")]
pub struct AttributeArgs {
    /// Attributes to store: those that changed, all, or none
    #[arg(
        long,
        env = "ATTRIBUTES",
        default_value = "changed",
        value_name = "changed|all|none"
    )]
    pub attributes: String,
    /// Names of attributes never to store, comma-separated
    #[arg(
        long,
        env = "EXCLUDE_ATTRIBUTES",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub exclude_attributes: String,
    /// Store context_id, context_parent_id and context_user_id
    #[arg(
        long,
        env = "CONTEXT_FIELDS",
        default_value = "false",
        value_name = "true|false"
    )]
    pub context_fields: String,
    /// Store numbers besides on one scale a quantity (°C, hPa, kWh, W, m/s, …), as value_normalized
    /// with unit_normalized
    #[arg(
        long,
        env = "NORMALIZE_UNITS",
        default_value = "false",
        value_name = "true|false"
    )]
    pub normalize_units: String,
    /// The schema.
    #[command(flatten)]
    pub schema: SchemaArgs,
}

/// Which fields are made, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSettings {
    /// Which points are made.
    pub schema: Schema,
    /// Which attributes become fields.
    pub attributes: AttributePolicy,
    /// Names of attributes that never do.
    pub exclude_attributes: HashSet<String>,
    /// Whether contexts are stored.
    pub context: bool,
    /// Whether numbers are stored on one scale besides.
    pub normalize_units: bool,
}

/// Which registry facts become tags.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Fields")]
pub struct ExtraTagArgs {
    /// Registry facts to make tags: area, floor, device, integration, labels. A point's identity
    /// then depends on the registry: the same event processed again after an area was renamed is
    /// another point, and one from before the registry was read has no such tag. Set the same for
    /// the producer and the workers
    #[arg(
        long,
        env = "EXTRA_TAGS",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub extra_tags: String,
}

impl ExtraTagArgs {
    /// Checks the names.
    pub fn resolve(&self, problems: &mut Problems) -> Vec<ExtraTag> {
        let wanted = list(&self.extra_tags);
        let known = ExtraTag::ALL.map(ExtraTag::as_str);
        if wanted.iter().any(|name| !known.contains(&name.as_str())) {
            let valid = format!("a comma list of {}", known.join(", "));
            problems.bad("EXTRA_TAGS", &self.extra_tags, &valid);
        }
        let is_wanted = |tag: &ExtraTag| wanted.iter().any(|name| name == tag.as_str());
        ExtraTag::ALL.into_iter().filter(is_wanted).collect()
    }
}

impl AttributeArgs {
    /// Checks the settings.
    pub fn resolve(&self, problems: &mut Problems) -> FieldSettings {
        let attributes = match self.attributes.as_str() {
            "changed" => AttributePolicy::Changed,
            "all" => AttributePolicy::All,
            "none" => AttributePolicy::None,
            other => {
                problems.bad("ATTRIBUTES", other, "changed, all or none");
                AttributePolicy::Changed
            }
        };
        FieldSettings {
            schema: self.schema.resolve(problems),
            attributes,
            exclude_attributes: list(&self.exclude_attributes).into_iter().collect(),
            context: boolean(problems, "CONTEXT_FIELDS", &self.context_fields),
            normalize_units: boolean(problems, "NORMALIZE_UNITS", &self.normalize_units),
        }
    }
}
