use std::collections::BTreeMap;
use std::time::Instant;

use super::tmpfs::Tmpfs;
use crate::progress::Progress;
use crate::run::harness::Harness;

/// What is needed of a fault from the start of the run to its end.
#[derive(Debug, Default)]
pub(in crate::run::drill) struct Prepared {
    pub(super) tmpfs: Option<Tmpfs>,
}

/// A system under a drill.
pub(in crate::run::drill) struct Context<'a> {
    pub(in crate::run::drill) harness: &'a mut Harness,
    pub(in crate::run::drill) progress: &'a Progress,
    pub(in crate::run::drill) prepared: &'a Prepared,
    /// Processes that ended by themselves.
    pub(in crate::run::drill) revived: &'a mut BTreeMap<String, u64>,
    pub(in crate::run::drill) begun: Instant,
    pub(in crate::run::drill) rate: f64,
}
