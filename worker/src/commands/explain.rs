//! `worker explain`: one event's way through the filters and stages, and the line protocol that
//! comes out. The same functions decide as in `run`; nothing is asked of any service.

mod fate;
mod input;
mod page;

use crate::commands::dlq::finish;
use anyhow::Context;
use clap::Args;
use fate::Fate;
use ha_batch::{Batch, HomeFacts};
use ha_enrich::{Depth, Options};
use ha_filter::{Filter, FilterReason};
use ha_settings::{AttributeArgs, FilterArgs, InstanceArgs, Problems, WeatherArgs};
use input::Input;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A larger file is no event, nor a dead letter.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// Settings of `worker explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A file, or - for standard input: bare events or captured WebSocket messages, one a line or
    /// in an array; lines of `dlq export`; what `dlq show --json` prints; or a batch as it is on
    /// the wire
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// One JSON object a line, one for each event
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    attributes: AttributeArgs,
    #[command(flatten)]
    weather: WeatherArgs,
}

/// Runs the command: exit code 1 if there is something that is not an event.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let mut problems = Problems::default();
    let instance = args.instance.resolve(&mut problems);
    let filter = args.filter.resolve(&mut problems);
    let fields = args.attributes.resolve(&mut problems);
    let weather = args.weather.resolve(&mut problems);
    let Some(filter) = filter.filter(|_| problems.is_empty()) else {
        return ha_settings::exit_with_problems(&problems);
    };
    let options = fields.enrichment(Depth::Full);
    let options = weather.fields(options);
    finish(explain(args, &instance, &filter, &options))
}

fn explain(
    args: &ExplainArgs,
    instance: &str,
    filter: &Filter,
    options: &Options,
) -> anyhow::Result<bool> {
    let bytes = read(&args.event)?;
    let inputs = input::read(&bytes, instance)?;
    let mut out = io::stdout().lock();
    let is_terminal = out.is_terminal();
    let (mut all_events, mut is_first) = (true, true);
    for input in &inputs {
        let batch = match input {
            Input::Batch(payload) => ha_batch::decode(payload).context("not a batch")?,
            Input::Event(envelope) => Batch::new(vec![envelope.clone()]),
        };
        for envelope in &batch.envelopes {
            let way = way(envelope, batch.home.as_ref(), filter, options);
            all_events &= !matches!(way.stages, Some(Err(_)));
            if args.json {
                writeln!(out, "{}", page::to_json(&way, envelope))?;
                continue;
            }
            if !is_first {
                writeln!(out)?;
            }
            is_first = false;
            page::print(&way, envelope, is_terminal, &mut out)?;
        }
    }
    Ok(all_events)
}

fn way(
    envelope: &ha_batch::Envelope<'_>,
    home: Option<&HomeFacts<'_>>,
    filter: &Filter,
    options: &Options,
) -> Fate {
    let peek = ha_event::peek(&envelope.json);
    let entity = peek.as_ref().ok().and_then(|peek| peek.entity_id.clone());
    let subject = match (&entity, &peek) {
        (Some(entity), _) => entity.to_string(),
        (None, Ok(peek)) => peek.event_type.to_string(),
        (None, Err(_)) => "no event".to_owned(),
    };
    let verdict = entity.map_or(Ok(()), |entity| {
        filter.decide(&entity)?;
        if filter.excludes_restart_artefacts() && ha_enrich::is_restart_placeholder(&envelope.json)
        {
            return Err(FilterReason::RestartArtefact);
        }
        Ok(())
    });
    Fate {
        subject,
        stages: verdict
            .is_ok()
            .then(|| ha_enrich::explain(envelope, home, options)),
        filter: verdict,
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(INPUT_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("--event: {} cannot be read", path.display()))?;
    anyhow::ensure!(
        bytes.len() as u64 <= INPUT_BYTES_MAX,
        "--event: {} is larger than {} MiB; cut out the events in question",
        path.display(),
        INPUT_BYTES_MAX >> 20
    );
    Ok(bytes)
}
