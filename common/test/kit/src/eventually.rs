use std::time::Duration;
use tokio::time::Instant;

/// The deadline of a test's waits, long enough for a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Polls until there is an answer, and returns it.
///
/// # Panics
/// There is none within [`SOON`]; the message says `what` was waited for.
pub async fn eventually<T>(what: &str, poll: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = poll().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
