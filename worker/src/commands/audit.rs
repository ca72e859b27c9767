//! The audit: what is missing in the database, and why.
//!
//! The producer numbers the events of a run (an run) without gaps, after filtering, and every
//! point and dead letter carries its number. So what the database and the dead letters hold says by itself
//! what they do not hold. With Home Assistant's address, its own history is compared too.
//!
//! Memory is bounded by the number of gaps, not of events: numbers are kept as ranges.

mod database;
mod history;
mod ranges;
mod report;
mod runs;

use crate::commands::dlq::{Store, StoreArgs, StorePlace, finish, run_to_end};
use crate::commands::moment::{moment, now_ns};
use clap::Args;
use database::{Database, Window};
use ha_filter::Filter;
use ha_settings::{
    FilterArgs, HomeAssistantArgs, HomeAssistantSettings, Problems, SinkArgs, SinkChoice,
    TlsSettings,
};
use report::Report;
use runs::Runs;
use std::process::ExitCode;
use std::time::Duration;

/// Points and counts around the window are read too: numbers are given in the order in which
/// events were received, points have the time at which they happened, and a minute lies between
/// two counts.
const MARGIN_NS: i64 = 600_000_000_000;

/// What may be under way while it is being audited is looked at again, …
const LOOKS_MAX: u32 = 3;
/// … after this, …
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// … if it is younger than this.
const UNDER_WAY_NS: i64 = 60_000_000_000;

/// Settings of `worker audit`, as given.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// From when: a time such as 2026-11-21T20:00:00Z, or 30m, 2h, 1d ago
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Until when; unset: now
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this home; unset: all in the database (and for Home Assistant's history: home)
    #[arg(long, env = "INSTANCE_NAME", value_name = "NAME")]
    instance: Option<String>,
    /// The report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sink: SinkArgs,
    #[command(flatten)]
    home_assistant: HomeAssistantArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    store: Box<StoreArgs>,
}

struct Audit {
    window: Window,
    until_is_now: bool,
    instance: Option<String>,
    json: bool,
    database: SinkChoice,
    dead_letters: Option<StorePlace>,
    home: Option<(HomeAssistantSettings, Filter)>,
    tls: TlsSettings,
}

/// Runs the audit. Exit code 1 if events are missing without an explanation.
pub(crate) fn run(args: &AuditArgs) -> ExitCode {
    let mut problems = Problems::default();
    let audit = args.resolve(&mut problems);
    let Some(audit) = audit.filter(|_| problems.is_empty()) else {
        return ha_settings::exit_with_problems(&problems);
    };
    if let Err(error) = ha_telemetry::init_logs(false, &args.store.log) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    finish(run_to_end(audit.run()))
}

impl AuditArgs {
    fn resolve(&self, problems: &mut Problems) -> Option<Audit> {
        let tls = self.store.tls(problems);
        let now_ns = now_ns();
        let since_ns = moment(problems, "--since", &self.since, now_ns);
        let until = self
            .until
            .as_ref()
            .map(|text| moment(problems, "--until", text, now_ns));
        let until_ns = until.unwrap_or(now_ns);
        if problems.is_empty() && since_ns >= until_ns {
            problems.bad("--since", &self.since, "a time before --until");
        }
        let database = self.sink.resolve(problems, false);
        if matches!(database, Some(SinkChoice::Null)) {
            problems.other("SINK=null stores nothing: there is nothing to audit");
        }
        let home = self.home_assistant.home_assistant_url.is_some().then(|| {
            let settings = self.home_assistant.resolve(problems);
            settings.zip(self.filter.resolve(problems))
        });
        let dead_letters = self.store.resolve_if_given(problems);
        Some(Audit {
            window: Window { since_ns, until_ns },
            until_is_now: until.is_none(),
            instance: self.instance.clone(),
            json: self.json,
            database: database?,
            dead_letters,
            home: match home {
                Some(home) => Some(home?),
                None => None,
            },
            tls: tls?,
        })
    }
}

impl Audit {
    async fn run(self) -> anyhow::Result<bool> {
        let database = Database::open(&self.database, &self.tls).await?;
        let mut looks = 1;
        let mut report = loop {
            let report = self.look(&database).await?;
            let under_way = self.until_is_now
                && report.youngest_unexplained_ns() > now_ns().saturating_sub(UNDER_WAY_NS);
            if !under_way || looks == LOOKS_MAX {
                break report;
            }
            looks += 1;
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        };
        if let Some((settings, filter)) = &self.home {
            let instance = self.instance.as_deref().unwrap_or("home");
            let tls = &self.tls;
            let compared =
                history::compare(settings, tls, filter, &database, instance, self.window).await?;
            report.history = Some(compared);
        }
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            report.print(&mut std::io::stdout().lock())?;
        }
        Ok(report.is_complete())
    }

    async fn look(&self, database: &Database) -> anyhow::Result<Report> {
        let mut runs = Runs::new(self.window);
        let around = Window {
            since_ns: self.window.since_ns.saturating_sub(MARGIN_NS),
            until_ns: self.window.until_ns.saturating_add(MARGIN_NS),
        };
        let instance = self.instance.as_deref();
        database
            .counts(around, instance, |count| runs.counted(&count))
            .await?;
        // Dead letters before points: an event that is replayed meanwhile is seen at one of the two.
        let mut waiting_batches = None;
        if let Some(place) = &self.dead_letters {
            let mut store = Store::open(place).await?;
            let read = read_dead_letters(&mut store, instance, &mut runs).await;
            waiting_batches = store.waiting_batches().await.ok();
            store.close().await?;
            read?;
        }
        database
            .numbers(around, instance, |number| runs.stored(&number))
            .await?;
        Ok(Report::new(
            self.window,
            runs.judge(),
            self.dead_letters.is_some(),
            waiting_batches,
        ))
    }
}

async fn read_dead_letters(
    store: &mut Store,
    instance: Option<&str>,
    runs: &mut Runs,
) -> anyhow::Result<()> {
    while let Some(dead_letter) = store.next().await? {
        for event in &dead_letter.events {
            if instance.is_none_or(|instance| instance == event.instance)
                && let (Some(run_id), Some(sequence)) = (event.run_id, event.sequence)
            {
                runs.dead_letter(&event.instance, run_id, sequence, event.source_time_ns);
            }
        }
    }
    Ok(())
}
