use ha_resilience::Failure;
use std::time::Duration;

/// Why no worker has a batch. (One may have it anyway when the connection broke.)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Nobody there, no answer in time, or a failure on their side.
    #[error("{0}")]
    Unavailable(String),
    /// The worker asked to be left alone for a while: it is full, or its database is away.
    #[error("{reason}")]
    RetryAfter {
        /// How long.
        after: Duration,
        /// The worker's words.
        reason: String,
    },
    /// The token is refused: `INTAKE_TOKEN` must change, here or there.
    #[error("{0}; INTAKE_TOKEN must be the same here and there")]
    Refused(String),
    /// This batch is refused, others may pass.
    #[error("{0}")]
    Rejected(String),
}

impl IntakeError {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::RetryAfter { after, .. } => Failure::RetryAfter(*after),
            Self::Refused(_) => Failure::Immediate,
            Self::Unavailable(_) | Self::Rejected(_) => Failure::Counted,
        }
    }
}
