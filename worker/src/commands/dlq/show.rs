//! `dlq show`.

use super::args::{LetterFilter, StorePlace};
use super::letter::Letter;
use super::store::Store;
use super::today::{Today, today};
use crate::commands::moment::to_microsecond;
use ha_enrich::Options;
use serde_json::Value;
use std::io::{self, Write};

/// Of bytes that are no frame, this much is printed.
const RAW_BYTES_MAX: usize = 2_048;

/// Prints one letter; `false` if there is none.
pub(super) async fn show(
    place: &StorePlace,
    filter: LetterFilter,
    options: &Options,
    json: bool,
) -> anyhow::Result<bool> {
    let mut store = Store::open(place).await?;
    let found = find(&mut store, &filter).await;
    store.close().await?;
    let Some(letter) = found? else {
        eprintln!("no letter has this id");
        return Ok(false);
    };
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", to_json(&letter, options))?;
    } else {
        print(&letter, options, &mut out)?;
    }
    Ok(true)
}

async fn find(store: &mut Store, filter: &LetterFilter) -> anyhow::Result<Option<Letter>> {
    while let Some(letter) = store.next().await? {
        if filter.matches(&letter) {
            return Ok(Some(letter));
        }
    }
    Ok(None)
}

fn to_json(letter: &Letter, options: &Options) -> Value {
    let mut value = letter.to_json();
    if let Some(object) = value.as_object_mut() {
        let headers = letter
            .headers
            .iter()
            .cloned()
            .map(|(name, text)| (name, text.into()));
        object.insert("headers".to_owned(), Value::Object(headers.collect()));
        object.insert("contents".to_owned(), events(letter).into());
        let verdict = today(letter, options);
        object.insert("today".to_owned(), verdict.to_string().into());
        if let Today::Points(points) = verdict {
            object.insert("line_protocol".to_owned(), points.into());
        }
    }
    value
}

/// The events as JSON, or as text where they are none.
fn events(letter: &Letter) -> Vec<Value> {
    let Ok(frame) = ha_frame::decode(&letter.payload) else {
        return Vec::new();
    };
    let json = frame.envelopes.iter().map(|envelope| {
        serde_json::from_slice(&envelope.json)
            .unwrap_or_else(|_| String::from_utf8_lossy(&envelope.json).into_owned().into())
    });
    json.collect()
}

fn print(letter: &Letter, options: &Options, out: &mut impl Write) -> anyhow::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<14} {value}");
    line("id", &letter.id)?;
    line("entity", &letter.subject_and_more())?;
    line("instance", &letter.instance)?;
    line("reason", &letter.reason)?;
    line("stage", &letter.stage)?;
    line("error", &letter.error)?;
    line("fingerprint", &letter.fingerprint)?;
    line("first failed", &to_microsecond(letter.first_failed_at_ns))?;
    line("last failed", &to_microsecond(letter.failed_at_ns))?;
    line("attempts", &letter.attempts.to_string())?;
    line("replays", &letter.replays.to_string())?;
    if let Ok(frame) = ha_frame::decode(&letter.payload) {
        for envelope in &frame.envelopes {
            line("received", &to_microsecond(envelope.received_at_ns))?;
            line("origin", envelope.origin.as_str())?;
            if let (Some(epoch), Some(sequence)) = (envelope.epoch, envelope.sequence) {
                line("sequence", &format!("{sequence} of epoch {epoch}"))?;
            }
        }
    }
    for event in events(letter) {
        match event {
            Value::String(text) => writeln!(out, "\nevent (not JSON)\n{text}")?,
            event => writeln!(out, "\nevent\n{event:#}")?,
        }
    }
    if letter.events.is_empty() {
        let beginning = &letter.payload[..letter.payload.len().min(RAW_BYTES_MAX)];
        let (all, text) = (letter.payload.len(), beginning.escape_ascii());
        writeln!(out, "\nno frame; {all} bytes, beginning\n{text}")?;
    }
    let verdict = today(letter, options);
    writeln!(out, "\ntoday it {verdict}")?;
    if let Today::Points(points) = verdict {
        for line in points {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}
