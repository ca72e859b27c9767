//! Why a drill could not be made.

/// The drill cannot be made on this machine, or in this run.
#[derive(Debug, thiserror::Error)]
#[error("not possible here: {0}")]
pub(crate) struct NotPossible(pub(crate) String);
