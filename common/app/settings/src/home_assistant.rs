//! Where events come from, and which are kept.

use crate::problems::list;
use crate::secret::secret;
use crate::{Problems, Secret};
use clap::Args;
use ha_filter::{Filter, FilterRules};
use url::Url;

/// Home Assistant's address and token.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Home Assistant")]
pub struct HomeAssistantArgs {
    /// Base URL of Home Assistant: http, https, ws or wss, with its path prefix if it has one
    #[arg(long, env = "HOME_ASSISTANT_URL", value_name = "URL")]
    pub home_assistant_url: Option<String>,
    /// Long-lived access token (Home Assistant: your profile, Security)
    #[arg(
        long,
        env = "HOME_ASSISTANT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub home_assistant_token: Option<String>,
    /// File that holds the token
    #[arg(long, env = "HOME_ASSISTANT_TOKEN_FILE", value_name = "FILE")]
    pub home_assistant_token_file: Option<String>,
    /// Event types to subscribe to, comma-separated
    #[arg(
        long,
        env = "EVENT_TYPES",
        default_value = "state_changed",
        value_name = "TYPES"
    )]
    pub event_types: String,
}

/// Home Assistant's address and token, checked.
#[derive(Debug, Clone)]
pub struct HomeAssistantSettings {
    /// Base URL.
    pub url: Url,
    /// Access token.
    pub token: Secret,
    /// Event types, at least one.
    pub event_types: Vec<String>,
}

impl HomeAssistantArgs {
    /// Checks the settings; `None` after a problem.
    pub fn resolve(&self, problems: &mut Problems) -> Option<HomeAssistantSettings> {
        let token = secret(
            problems,
            "HOME_ASSISTANT_TOKEN",
            self.home_assistant_token.as_ref(),
            self.home_assistant_token_file.as_ref(),
        );
        if token.is_none() {
            problems.missing(
                "HOME_ASSISTANT_TOKEN",
                "make a long-lived access token in Home Assistant (your profile, Security) and set \
                 it, or name a file that holds it with HOME_ASSISTANT_TOKEN_FILE",
            );
        }
        let url = match &self.home_assistant_url {
            None => {
                let example =
                    "the address of your Home Assistant, such as http://homeassistant.local:8123";
                problems.missing("HOME_ASSISTANT_URL", example);
                None
            }
            Some(text) => {
                let schemes = &["http", "https", "ws", "wss"];
                url(
                    problems,
                    "HOME_ASSISTANT_URL",
                    text,
                    schemes,
                    "http://homeassistant.local:8123",
                )
            }
        };
        let event_types = list(&self.event_types);
        if event_types.is_empty() {
            problems.bad(
                "EVENT_TYPES",
                &self.event_types,
                "a comma list such as state_changed",
            );
        }
        Some(HomeAssistantSettings {
            url: url?,
            token: token?,
            event_types,
        })
    }
}

/// The home's name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Home Assistant")]
pub struct InstanceArgs {
    /// Name of this home: a tag on every point, so that homes can share a database
    #[arg(
        long,
        env = "INSTANCE_NAME",
        default_value = "home",
        value_name = "NAME"
    )]
    pub instance_name: String,
}

impl InstanceArgs {
    /// Checks the name: it is a tag and a routing key.
    pub fn resolve(&self, problems: &mut Problems) -> String {
        let name = self.instance_name.trim();
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
        if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
            let valid = "1 to 100 letters, digits, spaces and - _ .";
            problems.bad("INSTANCE_NAME", &self.instance_name, valid);
        }
        name.to_owned()
    }
}

/// Which entities are kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filters (Home Assistant's precedence; comma lists)")]
pub struct FilterArgs {
    /// Domains to keep
    #[arg(
        long,
        env = "INCLUDE_DOMAINS",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    pub include_domains: String,
    /// Entity ids to keep
    #[arg(
        long,
        env = "INCLUDE_ENTITIES",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    pub include_entities: String,
    /// Patterns of entity ids to keep, such as sensor.weather_*
    #[arg(
        long,
        env = "INCLUDE_GLOBS",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    pub include_globs: String,
    /// Domains to leave out
    #[arg(
        long,
        env = "EXCLUDE_DOMAINS",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    pub exclude_domains: String,
    /// Entity ids to leave out
    #[arg(
        long,
        env = "EXCLUDE_ENTITIES",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    pub exclude_entities: String,
    /// Patterns of entity ids to leave out
    #[arg(
        long,
        env = "EXCLUDE_GLOBS",
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    pub exclude_globs: String,
    /// What Home Assistant writes in place of states while it starts (unavailable, restored):
    /// flag stores it with its flag, filter leaves it out and counts it
    #[arg(
        long,
        env = "RESTART_ARTEFACTS",
        default_value = "flag",
        value_name = "flag|filter"
    )]
    pub restart_artefacts: String,
}

impl FilterArgs {
    /// Compiles the filter.
    pub fn resolve(&self, problems: &mut Problems) -> Option<Filter> {
        let rules = FilterRules {
            include_domains: list(&self.include_domains),
            include_entities: list(&self.include_entities),
            include_globs: list(&self.include_globs),
            exclude_domains: list(&self.exclude_domains),
            exclude_entities: list(&self.exclude_entities),
            exclude_globs: list(&self.exclude_globs),
            exclude_restart_artefacts: match self.restart_artefacts.trim() {
                "flag" => false,
                "filter" => true,
                other => {
                    problems.bad("RESTART_ARTEFACTS", other, "flag or filter");
                    false
                }
            },
        };
        Filter::new(rules)
            .map_err(|error| problems.other(format!("INCLUDE_GLOBS, EXCLUDE_GLOBS: {error}")))
            .ok()
    }
}

/// An absolute URL of one of the schemes, with a host.
pub(crate) fn url(
    problems: &mut Problems,
    name: &str,
    text: &str,
    schemes: &[&str],
    example: &str,
) -> Option<Url> {
    match Url::parse(text.trim()) {
        Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => Some(url),
        _ => {
            let schemes = schemes.join(", ");
            // A URL may carry a password, so it is not repeated.
            problems.bad_secret(name, format_args!("a URL ({schemes}) such as {example}"));
            None
        }
    }
}
