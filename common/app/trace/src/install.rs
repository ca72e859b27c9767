//! Traces on: the exporter, the sampler, and the end of both.

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use reqwest::blocking::Client;
use rustls::ClientConfig;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Where spans are made; absent where traces are off.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A span keeps at most this many links; a write of more batches names the first of them. A worker holds 200
/// deliveries (`PREFETCH_EVENTS_MAX`'s default).
pub(crate) const LINKS_MAX: u32 = 256;

/// Spans that are not sent by then, after the process was told to stop, are given up.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// For one request; OpenTelemetry's default.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// `always_on`
    AlwaysOn,
    /// `always_off`
    AlwaysOff,
    /// `traceidratio`: this share, from 0 to 1.
    Ratio(f64),
    /// `parentbased_always_on`: as the process before decided; where there is none, all.
    ParentBasedAlwaysOn,
    /// `parentbased_always_off`
    ParentBasedAlwaysOff,
    /// `parentbased_traceidratio`
    ParentBasedRatio(f64),
}

impl Sampling {
    /// The names of `OTEL_TRACES_SAMPLER`
    /// (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>) that
    /// there are.
    pub const NAMES: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];

    /// The one of this name, with `ratio` where it takes one; `None` for another name.
    #[must_use]
    pub fn named(name: &str, ratio: f64) -> Option<Self> {
        Some(match name {
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => Self::Ratio(ratio),
            "parentbased_always_on" => Self::ParentBasedAlwaysOn,
            "parentbased_always_off" => Self::ParentBasedAlwaysOff,
            "parentbased_traceidratio" => Self::ParentBasedRatio(ratio),
            _ => return None,
        })
    }
}

/// How traces are made and where they go.
#[derive(Debug, Clone)]
pub struct TraceOptions {
    /// The whole address that spans are posted to.
    pub endpoint: String,
    /// For `https`.
    pub tls: Arc<ClientConfig>,
    /// Which traces are recorded.
    pub sampling: Sampling,
    /// `service.name`, where `OTEL_SERVICE_NAME` does not say another.
    pub service: &'static str,
    /// `service.instance.id`: the home's name.
    pub instance: Option<String>,
}

/// Traces cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT: traces cannot be sent: {0}")]
pub enum TraceError {
    /// A setting of the exporter, which reads more of OpenTelemetry's variables itself.
    Exporter(#[from] ExporterBuildError),
    /// Its HTTP client.
    Client(#[from] reqwest::Error),
    /// Its thread.
    Thread(#[from] std::io::Error),
}

/// Running traces.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends what is not sent. Blocks, for some seconds where nobody takes it: not on a runtime's
    /// own thread.
    pub fn flush(self) {
        // A collector that is away costs its spans and nothing else.
        let _ = self.0.shutdown_with_timeout(FLUSH_MAX);
    }
}

/// Begins to trace; once a process, the first one counts. The exporter has a thread of its own: a
/// collector that is slow or away costs spans, never events.
///
/// # Errors
/// [`TraceError`]: an endpoint that is no address.
pub fn install(options: &TraceOptions) -> Result<Traces, TraceError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client(Arc::clone(&options.tls))?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&options.endpoint)
        .build()?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
        resource = resource.with_service_name(options.service);
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let instance = options.instance.clone();
    let instance = instance.map(|name| KeyValue::new("service.instance.id", name));
    let resource = resource.with_attributes(instance.into_iter().chain([version]));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler(options.sampling))
        .with_max_links_per_span(LINKS_MAX)
        .with_resource(resource.build())
        .build();
    let _ = TRACER.set(provider.tracer("ha-ingestor"));
    Ok(Traces(provider))
}

/// A blocking client, because the exporter's thread has no runtime; and made on a thread of its
/// own, because making one on a runtime's thread panics.
fn client(tls: Arc<ClientConfig>) -> Result<Client, TraceError> {
    let making = std::thread::Builder::new().spawn(move || {
        Client::builder()
            .tls_backend_preconfigured(tls.as_ref().clone())
            .redirect(reqwest::redirect::Policy::none())
            .timeout(EXPORT_TIMEOUT)
            .build()
    })?;
    match making.join() {
        Ok(client) => Ok(client?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

pub(crate) fn sampler(sampling: Sampling) -> Sampler {
    let by_parent = |otherwise| Sampler::ParentBased(Box::new(otherwise));
    match sampling {
        Sampling::AlwaysOn => Sampler::AlwaysOn,
        Sampling::AlwaysOff => Sampler::AlwaysOff,
        Sampling::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
        Sampling::ParentBasedAlwaysOn => by_parent(Sampler::AlwaysOn),
        Sampling::ParentBasedAlwaysOff => by_parent(Sampler::AlwaysOff),
        Sampling::ParentBasedRatio(ratio) => by_parent(Sampler::TraceIdRatioBased(ratio)),
    }
}

/// Whether spans are made at all.
#[must_use]
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

#[cfg(test)]
mod tests {
    use super::Sampling;

    #[test]
    fn every_name_is_a_sampler_of_its_own() {
        let named = Sampling::NAMES.map(|name| Sampling::named(name, 0.5).unwrap());
        for (at, one) in named.iter().enumerate() {
            assert!(!named[..at].contains(one), "{one:?}");
        }
        assert_eq!(Sampling::named("jaeger_remote", 0.5), None);
    }
}
