use super::{dashboards, proofs};

/// Events a second while nothing is wrong.
pub(super) const RATE: f64 = 60.0;

/// What came of the faults.
pub(super) struct Proven {
    pub(super) rows: Vec<proofs::Row>,
    pub(super) panels: Vec<dashboards::Panel>,
    /// What was not as it should be; empty is a pass.
    pub(super) problems: Vec<String>,
}
