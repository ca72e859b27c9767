//! What the faults have shown.

use super::dashboards::Panel;
use super::proofs::Row;

/// What came of the faults.
pub(super) struct Proven {
    pub(super) rows: Vec<Row>,
    pub(super) panels: Vec<Panel>,
    /// What was not as it should be; empty is a pass.
    pub(super) problems: Vec<String>,
}
