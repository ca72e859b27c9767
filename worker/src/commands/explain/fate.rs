use ha_enrich::Explanation;
use ha_event::EventError;
use ha_filter::FilterReason;

/// What becomes of one event.
#[derive(Debug)]
pub(super) struct Fate {
    /// What it is and of whom, as far as it can be read.
    pub(super) subject: String,
    pub(super) filter: Result<(), FilterReason>,
    /// None where a filter leaves the event out.
    pub(super) stages: Option<Result<Explanation, EventError>>,
}
