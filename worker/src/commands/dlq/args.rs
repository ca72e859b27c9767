//! The workbench's flags.

use super::dead_letter::{DeadLetter, REASONS};
use crate::commands::moment::{moment, now_ns};
use clap::Args;
use globset::{Glob, GlobMatcher};
use ha_settings::{BrokerArgs, Problems, TlsArgs, TlsSettings, number};
use std::path::PathBuf;
use url::Url;

/// Which dead letters: those of the broker, or those of a producer without one.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Read the dead letters in this spool file (a producer without a broker keeps its dead letters there)
    /// instead of those at the broker
    #[arg(long, value_name = "FILE", help_heading = "Letters")]
    spool_path: Option<PathBuf>,
    /// Bytes of events that the spool may hold, as the producer has it
    #[arg(
        long,
        env = "SPOOL_BYTES_MAX",
        default_value = "1073741824",
        value_name = "BYTES",
        help_heading = "Letters"
    )]
    spool_bytes_max: String,
    /// RabbitMQ's management API, to check that the dead letters' queue has no delivery limit (needed
    /// on RabbitMQ 4 only, where one drops dead letters that were read too often); with user and
    /// password of AMQP_URL
    #[arg(
        long,
        env = "RABBITMQ_MANAGEMENT_URL",
        value_name = "URL",
        help_heading = "RabbitMQ"
    )]
    rabbitmq_management_url: Option<String>,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    tls: TlsArgs,
    /// What to log, such as info or ha_broker=debug,info; libraries log at info at most
    #[arg(long, env = "RUST_LOG", default_value = "warn", value_name = "FILTER")]
    pub(crate) log: String,
}

/// Where the dead letters are.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum StorePlace {
    /// The queue `ha.dead-letters`.
    Broker {
        url: Url,
        management: Option<Url>,
        tls: TlsSettings,
    },
    /// A spool database.
    Spool { path: PathBuf, bytes_max: u64 },
}

impl StoreArgs {
    /// Where the dead letters are; `None` after a problem.
    pub(super) fn resolve(&self, problems: &mut Problems) -> Option<StorePlace> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bytes_max = number(
            problems,
            "SPOOL_BYTES_MAX",
            &self.spool_bytes_max,
            1_048_576..=u64::MAX >> 1,
        );
        if let Some(path) = &self.spool_path {
            return Some(StorePlace::Spool {
                path: path.clone(),
                bytes_max,
            });
        }
        let management = self.rabbitmq_management_url.as_ref().and_then(|text| {
            let url = Url::parse(text)
                .ok()
                .filter(|url| url.scheme().starts_with("http"));
            if url.is_none() {
                problems.bad_secret(
                    "RABBITMQ_MANAGEMENT_URL",
                    "a URL such as http://rabbitmq:15672",
                );
            }
            url
        });
        let url = self.broker.resolve(problems);
        let tls = self.tls.resolve(problems);
        Some(StorePlace::Broker {
            url: url?,
            management,
            tls: tls?,
        })
    }

    /// Where the dead letters are, if that was said: no problem if not.
    pub(crate) fn resolve_if_given(&self, problems: &mut Problems) -> Option<StorePlace> {
        let broker = self.broker.amqp_url.is_some() || self.broker.amqp_url_file.is_some();
        if broker || self.spool_path.is_some() {
            self.resolve(problems)
        } else {
            None
        }
    }

    /// Certificates, for the other connections of the same command.
    pub(crate) fn tls(&self, problems: &mut Problems) -> Option<TlsSettings> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        self.tls.resolve(problems)
    }
}

/// Which of the dead letters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which dead letters")]
pub struct FilterArgs {
    /// Only dead letters with this reason
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only dead letters of entities (or, for other events, event types) that match, such as sensor.*
    #[arg(long, value_name = "GLOB")]
    entity: Option<String>,
    /// Only dead letters of this home
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Only dead letters that failed since: a time, or 30m, 2h, 1d ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only dead letters of this group (see list --group)
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
    /// Only the dead letter with this id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// At most this many, oldest first
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

/// Which of the dead letters, checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeadLetterFilter {
    reason: Option<String>,
    entity: Option<GlobMatcher>,
    instance: Option<String>,
    since_ns: Option<i64>,
    fingerprint: Option<String>,
    id: Option<String>,
    limit: Option<u64>,
}

impl FilterArgs {
    pub(super) fn resolve(&self, problems: &mut Problems) -> DeadLetterFilter {
        if let Some(reason) = &self.reason
            && !REASONS.contains(&reason.as_str())
        {
            problems.bad(
                "--reason",
                reason,
                format_args!("one of {}", REASONS.join(", ")),
            );
        }
        let entity = self.entity.as_ref().and_then(|pattern| {
            let glob = Glob::new(pattern).map(|glob| glob.compile_matcher());
            glob.map_err(|error| problems.bad("--entity", pattern, error))
                .ok()
        });
        DeadLetterFilter {
            reason: self.reason.clone(),
            entity,
            instance: self.instance.clone(),
            since_ns: self
                .since
                .as_ref()
                .map(|text| moment(problems, "--since", text, now_ns())),
            fingerprint: self.fingerprint.clone(),
            id: self.id.clone(),
            limit: self.limit,
        }
    }
}

impl DeadLetterFilter {
    /// Only the dead letter with this id.
    pub fn of_id(id: String) -> Self {
        Self {
            id: Some(id),
            ..Self::default()
        }
    }

    pub fn matches(&self, dead_letter: &DeadLetter) -> bool {
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        same(&self.reason, &dead_letter.reason)
            && same(&self.fingerprint, &dead_letter.fingerprint)
            && same(&self.instance, &dead_letter.instance)
            && self
                .entity
                .as_ref()
                .is_none_or(|glob| glob.is_match(&dead_letter.subject))
            && self
                .since_ns
                .is_none_or(|since| dead_letter.failed_at_ns >= since)
            && self.id.as_ref().is_none_or(|id| dead_letter.is_called(id))
    }

    /// Dead letters wanted at most.
    pub fn limit(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }

    /// What was asked for, for the question before something is done.
    pub fn is_everything(&self) -> bool {
        self.reason.is_none()
            && self.entity.is_none()
            && self.instance.is_none()
            && self.since_ns.is_none()
            && self.fingerprint.is_none()
            && self.id.is_none()
    }
}
