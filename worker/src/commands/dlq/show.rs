//! `dlq show`.

use super::args::{DeadLetterFilter, StorePlace};
use super::dead_letter::DeadLetter;
use super::store::Store;
use super::today::{Today, today};
use crate::commands::moment::to_microsecond;
use ha_enrich::Options;
use serde_json::Value;
use std::io::{self, Write};

/// Of bytes that are no batch, this much is printed.
const RAW_BYTES_MAX: usize = 2_048;

/// Prints one dead letter; `false` if there is none.
pub(super) async fn show(
    place: &StorePlace,
    filter: DeadLetterFilter,
    options: &Options,
    json: bool,
) -> anyhow::Result<bool> {
    let mut store = Store::open(place).await?;
    let found = find(&mut store, &filter).await;
    store.close().await?;
    let Some(dead_letter) = found? else {
        eprintln!("no dead letter has this id");
        return Ok(false);
    };
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", to_json(&dead_letter, options))?;
    } else {
        print(&dead_letter, options, &mut out)?;
    }
    Ok(true)
}

async fn find(store: &mut Store, filter: &DeadLetterFilter) -> anyhow::Result<Option<DeadLetter>> {
    while let Some(dead_letter) = store.next().await? {
        if filter.matches(&dead_letter) {
            return Ok(Some(dead_letter));
        }
    }
    Ok(None)
}

fn to_json(dead_letter: &DeadLetter, options: &Options) -> Value {
    let mut value = dead_letter.to_json();
    if let Some(object) = value.as_object_mut() {
        let headers = dead_letter
            .headers
            .iter()
            .cloned()
            .map(|(name, text)| (name, text.into()));
        object.insert("headers".to_owned(), Value::Object(headers.collect()));
        object.insert("contents".to_owned(), events(dead_letter).into());
        let verdict = today(dead_letter, options);
        object.insert("today".to_owned(), verdict.to_string().into());
        if let Today::Points(points) = verdict {
            object.insert("line_protocol".to_owned(), points.into());
        }
    }
    value
}

/// The events as JSON, or as text where they are none.
fn events(dead_letter: &DeadLetter) -> Vec<Value> {
    let Ok(batch) = ha_batch::decode(&dead_letter.payload) else {
        return Vec::new();
    };
    let json = batch.envelopes.iter().map(|envelope| {
        serde_json::from_slice(&envelope.json)
            .unwrap_or_else(|_| String::from_utf8_lossy(&envelope.json).into_owned().into())
    });
    json.collect()
}

fn print(dead_letter: &DeadLetter, options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<14} {value}");
    line("id", &dead_letter.id)?;
    line("entity", &dead_letter.subject_and_more())?;
    line("instance", &dead_letter.instance)?;
    line("reason", &dead_letter.reason)?;
    line("stage", &dead_letter.stage)?;
    line("error", &dead_letter.error)?;
    line("fingerprint", &dead_letter.fingerprint)?;
    line(
        "first failed",
        &to_microsecond(dead_letter.first_failed_at_ns),
    )?;
    line("last failed", &to_microsecond(dead_letter.failed_at_ns))?;
    line("attempts", &dead_letter.attempts.to_string())?;
    line("replays", &dead_letter.replays.to_string())?;
    if let Ok(batch) = ha_batch::decode(&dead_letter.payload) {
        for envelope in &batch.envelopes {
            line("received", &to_microsecond(envelope.received_at_ns))?;
            line("origin", envelope.origin.as_str())?;
            if let (Some(run_id), Some(sequence)) = (envelope.run_id, envelope.sequence) {
                line("sequence", &format!("{sequence} of run {run_id}"))?;
            }
        }
    }
    for event in events(dead_letter) {
        match event {
            Value::String(text) => writeln!(out, "\nevent (not JSON)\n{text}")?,
            event => writeln!(out, "\nevent\n{event:#}")?,
        }
    }
    if dead_letter.events.is_empty() {
        let beginning = &dead_letter.payload[..dead_letter.payload.len().min(RAW_BYTES_MAX)];
        let (all, text) = (dead_letter.payload.len(), beginning.escape_ascii());
        writeln!(out, "\nno batch; {all} bytes, beginning\n{text}")?;
    }
    let verdict = today(dead_letter, options);
    writeln!(out, "\ntoday it {verdict}")?;
    if let Today::Points(points) = verdict {
        for line in points {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
