//! Traces, from the settings to the last span.

use ha_settings::{TlsSettings, TraceSettings};
use ha_trace::{TraceError, TraceOptions, Traces};
use std::sync::Arc;

/// Traces as the settings say; `None` where they are off.
///
/// # Errors
/// [`TraceError`]
pub fn traces(
    settings: Option<&TraceSettings>,
    service: &'static str,
    instance: Option<&str>,
    tls: &TlsSettings,
) -> Result<Option<Traces>, TraceError> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let options = TraceOptions {
        endpoint: settings.endpoint.to_string(),
        tls: Arc::clone(&tls.client),
        sampling: settings.sampling,
        service,
        instance: instance.map(str::to_owned),
    };
    ha_trace::install(&options).map(Some)
}

/// Runs what a process is for. What its logs leave out is said, and its last spans are sent, however
/// it ends.
pub async fn reported<T>(traces: Option<Traces>, work: impl Future<Output = T>) -> T {
    tokio::spawn(crate::report_suppressed());
    let done = work.await;
    if let Some(traces) = traces {
        // It blocks while it waits for the exporter's thread.
        let _ = tokio::task::spawn_blocking(move || traces.flush()).await;
    }
    crate::say_suppressed();
    done
}
