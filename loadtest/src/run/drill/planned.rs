use std::time::Duration;

use super::fault::FaultName;

/// A fault, when it begins (from the first event on) and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) fault: FaultName,
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
}
