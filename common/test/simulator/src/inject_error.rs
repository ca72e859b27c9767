/// An event that cannot be injected.
#[derive(Debug, thiserror::Error)]
#[error("not an event that the ledger can hold: {0}")]
pub struct InjectError(pub(crate) String);
