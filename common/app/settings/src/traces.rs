//! Traces: OpenTelemetry's own names.

use crate::Problems;
use clap::Args;
use ha_trace::Sampling;
use url::Url;

/// What the exporter speaks.
const PROTOCOL: &str = "http/protobuf";

/// Where traces go, and which.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceArgs {
    /// Base URL of an OpenTelemetry collector (OTLP over HTTP, protobuf); unset: no traces
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// The whole address for traces, in place of the base URL and /v1/traces
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_traces_endpoint: Option<String>,
    /// How spans are sent: http/protobuf is the only way
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_PROTOCOL",
        default_value = PROTOCOL,
        value_name = "PROTOCOL"
    )]
    pub otel_exporter_otlp_protocol: String,
    /// true: no traces, whatever else is set
    #[arg(
        long,
        env = "OTEL_SDK_DISABLED",
        default_value = "false",
        value_name = "true|false"
    )]
    pub otel_sdk_disabled: String,
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
    /// The whole address that spans are posted to.
    pub endpoint: Url,
    /// Which of them are recorded.
    pub sampling: Sampling,
}

impl TraceArgs {
    /// Checks them; `None` where traces are off, or after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<TraceSettings> {
        let whole = self.otel_exporter_otlp_traces_endpoint.as_deref();
        let base = self.otel_exporter_otlp_endpoint.as_deref();
        let (name, text) = match (whole, base) {
            (Some(whole), _) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", whole.to_owned()),
            (None, Some(base)) => {
                let whole = format!("{}/v1/traces", base.trim_end_matches('/'));
                ("OTEL_EXPORTER_OTLP_ENDPOINT", whole)
            }
            (None, None) => return None,
        };
        if crate::boolean(problems, "OTEL_SDK_DISABLED", &self.otel_sdk_disabled) {
            return None;
        }
        let url = text.parse::<Url>().ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() {
            // It may hold a password.
            problems.bad_secret(name, "a URL such as http://collector:4318");
        }
        let protocol = &self.otel_exporter_otlp_protocol;
        if protocol != PROTOCOL {
            let valid = format!("{PROTOCOL}, which collectors take on port 4318");
            problems.bad("OTEL_EXPORTER_OTLP_PROTOCOL", protocol, valid);
        }
        let share = &self.otel_traces_sampler_arg;
        let ratio = share.trim().parse::<f64>().ok();
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        if ratio.is_none() {
            problems.bad("OTEL_TRACES_SAMPLER_ARG", share, "a number from 0 to 1");
        }
        let sampler = &self.otel_traces_sampler;
        let sampling = Sampling::named(sampler, ratio.unwrap_or_default());
        if sampling.is_none() {
            let valid = format!("one of {}", Sampling::NAMES.join(", "));
            problems.bad("OTEL_TRACES_SAMPLER", sampler, valid);
        }
        ratio?;
        Some(TraceSettings {
            endpoint: url?,
            sampling: sampling?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(endpoint: &str) -> TraceArgs {
        TraceArgs {
            otel_exporter_otlp_endpoint: Some(endpoint.into()),
            otel_exporter_otlp_traces_endpoint: None,
            otel_exporter_otlp_protocol: PROTOCOL.into(),
            otel_sdk_disabled: "false".into(),
            otel_traces_sampler: "traceidratio".into(),
            otel_traces_sampler_arg: "0.25".into(),
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut problems = Problems::default();
        let wrong = TraceArgs {
            otel_exporter_otlp_protocol: "grpc".into(),
            otel_sdk_disabled: "perhaps".into(),
            otel_traces_sampler: "sometimes".into(),
            otel_traces_sampler_arg: "NaN".into(),
            ..arguments("collector:4318")
        };
        assert_eq!(wrong.resolve(&mut problems), None);
        let problems = problems.to_string();
        for name in [
            "OTEL_EXPORTER_OTLP_ENDPOINT:",
            "OTEL_EXPORTER_OTLP_PROTOCOL:",
            "OTEL_SDK_DISABLED:",
            "OTEL_TRACES_SAMPLER:",
            "OTEL_TRACES_SAMPLER_ARG:",
        ] {
            assert!(problems.contains(name), "{name} is not in {problems}");
        }
    }

    #[test]
    fn the_address_is_the_base_with_its_path_or_whole() {
        let resolve = |arguments: TraceArgs| {
            let mut problems = Problems::default();
            let settings = arguments.resolve(&mut problems);
            assert!(problems.is_empty(), "{problems}");
            settings
        };
        let settings = resolve(arguments("http://collector:4318/")).unwrap();
        assert_eq!(
            settings.endpoint.as_str(),
            "http://collector:4318/v1/traces"
        );
        assert_eq!(settings.sampling, Sampling::Ratio(0.25));
        let whole = TraceArgs {
            otel_exporter_otlp_traces_endpoint: Some("http://other/spans".into()),
            ..arguments("http://collector:4318")
        };
        assert_eq!(
            resolve(whole).unwrap().endpoint.as_str(),
            "http://other/spans"
        );
        let disabled = TraceArgs {
            otel_sdk_disabled: "true".into(),
            ..arguments("http://collector:4318")
        };
        assert_eq!(resolve(disabled), None);
    }
}
