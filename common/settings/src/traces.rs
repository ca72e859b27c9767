//! Traces: OpenTelemetry's own names.

use crate::Problems;
use clap::Args;
use url::Url;

/// Samplers of `OTEL_TRACES_SAMPLER` that there are.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Where traces go, and which.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceArgs {
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP, protobuf); unset: no traces
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// always_on, always_off, traceidratio, or one of these with parentbased_ before it
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        default_value = "parentbased_always_on",
        value_name = "SAMPLER"
    )]
    pub otel_traces_sampler: String,
    /// The share of traces that traceidratio records, from 0 to 1
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER_ARG",
        default_value = "1",
        value_name = "SHARE"
    )]
    pub otel_traces_sampler_arg: String,
}

/// Where traces go, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// The collector's base URL.
    pub endpoint: Url,
    /// One of OpenTelemetry's names.
    pub sampler: String,
    /// From 0 to 1.
    pub ratio: f64,
}

impl TraceArgs {
    /// Checks them; `None` where traces are off, or after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<TraceSettings> {
        let endpoint = self.otel_exporter_otlp_endpoint.as_deref()?;
        let url = endpoint.parse::<Url>().ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            // It may hold a password.
            problems.bad_secret(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "a URL such as http://collector:4318",
            );
        }
        let sampler = &self.otel_traces_sampler;
        if !SAMPLERS.contains(&sampler.as_str()) {
            let valid = format!("one of {}", SAMPLERS.join(", "));
            problems.bad("OTEL_TRACES_SAMPLER", sampler, valid);
        }
        let share = &self.otel_traces_sampler_arg;
        let ratio = share.trim().parse::<f64>().ok();
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            problems.bad("OTEL_TRACES_SAMPLER_ARG", share, "a number from 0 to 1");
        }
        Some(TraceSettings {
            endpoint: url?,
            sampler: sampler.clone(),
            ratio: ratio?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(endpoint: &str, sampler: &str, share: &str) -> (Option<TraceSettings>, String) {
        let mut problems = Problems::default();
        let arguments = TraceArgs {
            otel_exporter_otlp_endpoint: Some(endpoint.into()),
            otel_traces_sampler: sampler.into(),
            otel_traces_sampler_arg: share.into(),
        };
        let settings = arguments.resolve(&mut problems);
        (settings, problems.to_string())
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let (settings, problems) = resolve("collector:4318", "sometimes", "NaN");
        assert_eq!(settings, None);
        for name in [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_TRACES_SAMPLER:",
            "OTEL_TRACES_SAMPLER_ARG",
        ] {
            assert!(problems.contains(name), "{problems}");
        }
        let (settings, _) = resolve("http://collector:4318", "traceidratio", "0.25");
        assert_eq!(settings.unwrap().ratio, 0.25);
    }
}
