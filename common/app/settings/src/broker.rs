//! The broker's address.

use crate::Problems;
use crate::home_assistant::url;
use crate::secret::secret;
use clap::Args;
use url::Url;

/// The broker's address.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "RabbitMQ")]
pub struct BrokerArgs {
    /// amqp:// or amqps://, with user, password and virtual host
    #[arg(long, env = "AMQP_URL", hide_env_values = true, value_name = "URL")]
    pub amqp_url: Option<String>,
    /// File that holds the address
    #[arg(long, env = "AMQP_URL_FILE", value_name = "FILE")]
    pub amqp_url_file: Option<String>,
}

impl BrokerArgs {
    /// Whether the user named a broker at all.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.amqp_url.is_some() || self.amqp_url_file.is_some()
    }

    /// Checks the address; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Url> {
        let text = secret(
            problems,
            "AMQP_URL",
            self.amqp_url.as_ref(),
            self.amqp_url_file.as_ref(),
        );
        let example = "amqp://user:password@rabbitmq:5672/%2f";
        let Some(text) = text else {
            problems.missing(
                "AMQP_URL",
                format_args!("the address of RabbitMQ, such as {example}"),
            );
            return None;
        };
        let mut url = url(
            problems,
            "AMQP_URL",
            text.reveal(),
            &["amqp", "amqps"],
            example,
        )?;
        // `amqp://host` and `amqp://host/` both mean the default virtual host to everyone but
        // the AMQP URI specification, which reads the second as a nameless one.
        if matches!(url.path(), "" | "/") {
            url.set_path("/%2f");
        }
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_host_and_one_without_a_host_is_a_problem() {
        let resolve = |text: &str| {
            let mut problems = Problems::default();
            let arguments = BrokerArgs {
                amqp_url: Some(text.to_owned()),
                amqp_url_file: None,
            };
            let url = arguments.resolve(&mut problems);
            assert_eq!(url.is_none(), problems.to_string().contains("AMQP_URL"));
            url.map(|url| url.to_string())
        };
        for (given, kept) in [
            ("amqp://rabbitmq", "amqp://rabbitmq/%2f"),
            ("amqp://u:p@[::1]:5672/", "amqp://u:p@[::1]:5672/%2f"),
            ("amqps://[fd00::1]/v", "amqps://[fd00::1]/v"),
        ] {
            assert_eq!(resolve(given).as_deref(), Some(kept));
        }
        for refused in [
            "amqp:///%2f",
            "amqp://",
            "amqp://:5672/",
            "amqp://u:p@/",
            "amqp:rabbitmq",
            "amqp://[::1/",
            "amqp://::1/",
            // A zone: no part of a URL's host.
            "amqp://[fe80::1%25eth0]/",
        ] {
            assert_eq!(resolve(refused), None, "{refused}");
        }
    }
}
