//! Events over HTTP: the worker's intake, and the producer's way to it.

use crate::problems::number;
use crate::secret::secret;
use crate::{Problems, Secret};
use clap::Args;
use std::net::SocketAddr;

/// The shared secret of both ends.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Events over HTTP")]
pub struct IntakeTokenArgs {
    /// The workers' shared secret for events over HTTP
    #[arg(
        long,
        env = "INTAKE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub intake_token: Option<String>,
    /// File that holds the secret
    #[arg(long, env = "INTAKE_TOKEN_FILE", value_name = "FILE")]
    pub intake_token_file: Option<String>,
}

impl IntakeTokenArgs {
    /// Checks the token, which is carried in a header.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Secret> {
        let name = "INTAKE_TOKEN";
        let (value, file) = (self.intake_token.as_ref(), self.intake_token_file.as_ref());
        let token = secret(problems, name, value, file)?;
        let text = token.reveal();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            problems.bad_secret(name, "printable ASCII characters without spaces");
            return None;
        }
        Some(token)
    }
}

/// The worker's intake.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Events over HTTP")]
pub struct IntakeArgs {
    /// Take events over HTTP (POST /v1/events) on this address; unset: off. Without AMQP_URL it is
    /// all that the worker does
    #[arg(long, env = "INTAKE_ADDR", value_name = "ADDRESS")]
    pub intake_addr: Option<String>,
    /// The secret.
    #[command(flatten)]
    pub token: IntakeTokenArgs,
    /// Larger events are refused there (events in a producer's batch are not looked at)
    #[arg(
        long,
        env = "EVENT_BYTES_MAX",
        default_value = "262144",
        value_name = "BYTES"
    )]
    pub event_bytes_max: String,
}

/// The worker's intake, checked.
#[derive(Debug, Clone)]
pub struct IntakeSettings {
    /// Where to listen.
    pub address: SocketAddr,
    /// What senders must present; missing on a loopback address only.
    pub token: Option<Secret>,
    /// Bytes of one bare event.
    pub event_bytes_max: usize,
}

impl IntakeArgs {
    /// Whether the user wants an intake.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.intake_addr.is_some()
    }

    /// Checks the settings; `None` when there is no intake, or after a problem. An event must fit
    /// in a body of `body_bytes_max`.
    pub fn resolve(
        &self,
        problems: &mut Problems,
        body_bytes_max: usize,
    ) -> Option<IntakeSettings> {
        let text = self.intake_addr.as_deref()?;
        let address: Option<SocketAddr> = text.parse().ok();
        if address.is_none() {
            let valid = "an address such as 127.0.0.1:8300, or 0.0.0.0:8300 for every interface";
            problems.bad("INTAKE_ADDR", text, valid);
        }
        let token_given =
            self.token.intake_token.is_some() || self.token.intake_token_file.is_some();
        let token = self.token.resolve(problems);
        if let Some(address) = address
            && !token_given
            && !address.ip().to_canonical().is_loopback()
        {
            problems.missing(
                "INTAKE_TOKEN",
                format_args!(
                    "everybody who reaches {address} could write; set it, or listen on 127.0.0.1 \
                     (INTAKE_ADDR)"
                ),
            );
        }
        let bytes = &self.event_bytes_max;
        let event_bytes_max = number(problems, "EVENT_BYTES_MAX", bytes, 1_024..=body_bytes_max);
        Some(IntakeSettings {
            address: address?,
            token,
            event_bytes_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(address: Option<&str>, token: Option<&str>) -> (Option<IntakeSettings>, String) {
        let args = IntakeArgs {
            intake_addr: address.map(str::to_owned),
            token: IntakeTokenArgs {
                intake_token: token.map(str::to_owned),
                intake_token_file: None,
            },
            event_bytes_max: "262144".into(),
        };
        let mut problems = Problems::default();
        let settings = args.resolve(&mut problems, 8 << 20);
        let said = if problems.is_empty() {
            String::new()
        } else {
            problems.to_string()
        };
        (settings, said)
    }

    #[test]
    fn a_token_is_needed_where_others_can_come() {
        assert!(resolved(None, None).0.is_none());
        for (address, token, said) in [
            ("127.0.0.1:8300", None, ""),
            ("[::1]:8300", None, ""),
            ("[::ffff:127.0.0.1]:8300", None, ""),
            ("0.0.0.0:8300", Some("s3cret"), ""),
            ("0.0.0.0:8300", None, "INTAKE_TOKEN is not set"),
            ("[::]:8300", None, "INTAKE_TOKEN is not set"),
            ("10.0.0.1:8300", Some("zwölf"), "INTAKE_TOKEN: its value"),
            ("10.0.0.1:8300", Some(" "), "INTAKE_TOKEN: its value"),
            ("8300", None, "INTAKE_ADDR: \"8300\""),
        ] {
            let (settings, found) = resolved(Some(address), token);
            assert!(found.contains(said), "{address}: {found}");
            assert_eq!(found.is_empty(), said.is_empty(), "{address}: {found}");
            assert!(!found.contains("zwölf"), "{found}");
            if said.is_empty() {
                assert_eq!(settings.unwrap().token.is_some(), token.is_some());
            }
        }
    }
}
