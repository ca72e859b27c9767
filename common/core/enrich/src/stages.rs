//! The stages, in their order.

mod attributes;
mod bus;
mod identity;
mod normalize;
mod outcome;
mod provenance;
mod quality;
mod record;
mod weather;

pub use record::{ENTITY_RECORD, EntityRecord, QUALITY_RECORD, QualityRecord};

use crate::facts::Facts;
use crate::{Depth, ObservedWeather, Options, Report};
use ha_batch::Envelope;
use ha_event::{BusEvent, EventError, StateChanged};
use ha_point::Point;

pub(crate) use outcome::Outcome;

/// One stage: adds fields or flags, and can neither stop nor see the others.
pub(crate) struct Stage {
    pub name: &'static str,
    /// The least depth that it runs at.
    pub depth: Depth,
    pub run: for<'a> fn(&Facts<'a, '_>, &mut Outcome<'a>),
}

/// The order is that of the fields' importance to a reader of `explain`; `quality` alone must come
/// after a stage (`validate`), whose flags it writes.
pub(crate) const STAGES: [Stage; 9] = [
    Stage {
        name: "identify",
        depth: Depth::Plain,
        run: identity::identify,
    },
    Stage {
        name: "normalize",
        depth: Depth::Plain,
        run: normalize::state,
    },
    Stage {
        name: "derive",
        depth: Depth::Plain,
        run: normalize::duration,
    },
    Stage {
        name: "attributes",
        depth: Depth::Plain,
        run: attributes::attributes,
    },
    Stage {
        name: "units",
        depth: Depth::Full,
        run: normalize::units,
    },
    Stage {
        name: "validate",
        depth: Depth::Full,
        run: quality::validate,
    },
    Stage {
        name: "weather",
        depth: Depth::Full,
        run: weather::weather,
    },
    Stage {
        name: "quality",
        depth: Depth::Full,
        run: quality::quality,
    },
    Stage {
        name: "provenance",
        depth: Depth::Plain,
        run: provenance::provenance,
    },
];

/// Any other event: a record of the producer's, or an event of Home Assistant's bus.
pub(crate) fn other<'a>(event: &BusEvent<'a>, envelope: &'a Envelope<'_>) -> Point<'a> {
    record::record(event, envelope).unwrap_or_else(|| bus::bus(event, envelope))
}

/// Names of the stages, in their order.
pub static STAGE_NAMES: [&str; STAGES.len()] = {
    let mut names = [""; STAGES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = STAGES[at].name;
        at += 1;
    }
    names
};

/// Runs the first of the stages: all, but to measure one.
pub(crate) fn state_changed<'a>(
    event: &StateChanged<'a>,
    envelope: &'a Envelope<'_>,
    observed: &[ObservedWeather<'a>],
    options: &Options,
    stages: usize,
) -> Result<(Point<'a>, Report), EventError> {
    let facts = gather(event, envelope, observed, options)?;
    let mut outcome = Outcome::new(&facts);
    let stages = STAGES.iter().take(stages);
    for stage in stages.filter(|stage| stage.depth <= options.depth) {
        (stage.run)(&facts, &mut outcome);
    }
    Ok((outcome.point, outcome.report))
}

pub(crate) fn gather<'a, 'f>(
    event: &'f StateChanged<'a>,
    envelope: &'a Envelope<'_>,
    observed: &'f [ObservedWeather<'a>],
    options: &'f Options,
) -> Result<Facts<'a, 'f>, EventError> {
    // `parse` has refused an event without a time.
    Facts::gather(event, envelope, observed, options).ok_or_else(|| EventError::NoState {
        entity_id: event.entity_id.to_string(),
    })
}
