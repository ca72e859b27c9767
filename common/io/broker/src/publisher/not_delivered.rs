/// Why the broker does not have a message. (It may have it anyway when the connection broke:
/// sending it again is right, since the same event written twice is one point.)
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// No connection.
    #[error("the broker is not connected")]
    Disconnected,
    /// The connection broke before the confirm came.
    #[error("the connection was lost before the confirm")]
    Lost,
    /// The broker stopped reading: memory or disk alarm.
    #[error("the broker blocks publishers (memory or disk alarm)")]
    Blocked,
    /// The broker said no: the queue is full.
    #[error("the broker refused the message (basic.nack: queue full)")]
    Nack,
    /// No queue is bound.
    #[error("the broker returned the message: no queue is bound to the exchange")]
    Returned,
    /// No confirm in time.
    #[error("no confirm in time")]
    Timeout,
}
