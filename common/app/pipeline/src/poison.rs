//! A hook for tests, not compiled into release builds: an event that ends the process as soon as it
//! is looked at, as a defect below Rust's panics would.

use ha_batch::Envelope;
use std::sync::LazyLock;

/// The variable that names the entity.
const VARIABLE: &str = "HA_INGESTOR_TEST_POISON";

static ENTITY: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(VARIABLE).ok());

/// Aborts the process if the event is of that entity.
pub(crate) fn act(envelope: &Envelope<'_>) {
    let Some(entity) = ENTITY.as_deref() else {
        return;
    };
    let peek = ha_event::peek(&envelope.json).ok();
    if peek.and_then(|peek| peek.entity_id).as_deref() == Some(entity) {
        std::process::abort();
    }
}
