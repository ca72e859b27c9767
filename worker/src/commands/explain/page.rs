//! How a fate through the stages is shown: as a page for people, and as JSON.

use super::fate::Fate;
use crate::commands::moment::to_microsecond;
use ha_batch::Envelope;
use ha_enrich::{Explanation, StageOutcome};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Columns of the names on the left.
const NAME: usize = 12;

pub(super) fn print(
    fate: &Fate,
    envelope: &Envelope<'_>,
    is_terminal: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let bold = |text: &str| {
        if is_terminal {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    writeln!(out, "{}", bold(&fate.subject))?;
    let mut line = |name: &str, text: &str| writeln!(out, "  {name:NAME$} {text}");
    if let Some(change) = change(&envelope.json) {
        line("change", &change)?;
    }
    let peek = ha_event::peek(&envelope.json).ok();
    if let Some(time) = peek.and_then(|peek| peek.source_time) {
        line("time", &to_microsecond(time.as_nanos()))?;
    }
    let sequence = envelope.run_id.zip(envelope.sequence);
    let sequence = sequence.map(|(run_id, sequence)| format!(", event {sequence} of run {run_id}"));
    let (instance, origin) = (&envelope.instance, envelope.origin.as_str());
    let sequence = sequence.unwrap_or_default();
    line("from", &format!("{instance}, {origin}{sequence}"))?;

    writeln!(out, "\n{}", bold("filters"))?;
    match fate.filter {
        Ok(()) => writeln!(out, "  {:NAME$} yes", "kept")?,
        Err(reason) => {
            let (word, says) = (reason.as_str(), reason.says());
            writeln!(out, "  {:NAME$} no, {word}: {says}", "kept")?;
            writeln!(out, "\nNothing is stored; it is counted as filtered.")?;
        }
    }
    match &fate.stages {
        None => Ok(()),
        Some(Err(error)) => {
            writeln!(out, "\n{}", bold("stages"))?;
            writeln!(out, "  {:NAME$} {error}", "parse")?;
            writeln!(out, "\nIt becomes a dead letter: invalid_event.")
        }
        Some(Ok(explanation)) => {
            writeln!(out, "\n{}", bold("stages"))?;
            for stage in &explanation.stages {
                print_stage(stage, out)?;
            }
            let score = explanation.report.score();
            if let Some(score) = score {
                writeln!(out, "\n{}\n  {score} of 100", bold("quality"))?;
            }
            writeln!(out, "\n{}", bold("line protocol"))?;
            match &explanation.line {
                Some(line) => writeln!(out, "{line}"),
                None => writeln!(out, "none: no field is left to write"),
            }
        }
    }
}

/// What a stage adds stands behind a plus, what it has to say behind nothing.
fn print_stage(stage: &StageOutcome, out: &mut impl Write) -> io::Result<()> {
    let added = stage.tags.iter().map(|tag| format!("+ tag {tag}"));
    let added = added.chain(stage.fields.iter().map(|field| format!("+ {field}")));
    let mut lines: Vec<_> = added.chain(stage.notes.iter().cloned()).collect();
    if lines.is_empty() {
        lines.push(
            if stage.ran {
                "nothing to add"
            } else {
                "does not run"
            }
            .to_owned(),
        );
    }
    let mut name = stage.stage;
    for line in lines {
        writeln!(out, "  {name:NAME$} {}", line.replace('\n', "\\n"))?;
        name = "";
    }
    Ok(())
}

/// `20 → 21.5`, `created as on`, `removed (was on)`.
fn change(json: &[u8]) -> Option<String> {
    let ha_event::Event::StateChanged(event) = ha_event::parse(json).ok()? else {
        return None;
    };
    let text = |state: &Option<ha_event::State<'_>>| state.as_ref().map(|s| s.state.to_string());
    match (text(&event.old_state), text(&event.new_state)) {
        (Some(old), Some(new)) if old == new => Some(format!("{new}, attributes only")),
        (Some(old), Some(new)) => Some(format!("{old} → {new}")),
        (None, Some(new)) => Some(format!("new, {new}")),
        (Some(old), None) => Some(format!("removed, was {old}")),
        (None, None) => None,
    }
}

pub(super) fn to_json(fate: &Fate, envelope: &Envelope<'_>) -> Value {
    let filter = match fate.filter {
        Ok(()) => json!({"kept": true}),
        Err(reason) => {
            json!({"kept": false, "reason": reason.as_str(), "says": reason.says()})
        }
    };
    let mut value = json!({
        "subject": fate.subject,
        "instance": envelope.instance,
        "origin": envelope.origin.as_str(),
        "filter": filter,
        "stages": [],
        "line_protocol": null,
    });
    match &fate.stages {
        None => {}
        Some(Err(error)) => {
            value["dead_letter"] = json!({"reason": "invalid_event", "error": error.to_string()});
        }
        Some(Ok(explanation)) => explained(explanation, &mut value),
    }
    value
}

fn explained(explanation: &Explanation, value: &mut Value) {
    let stage = |stage: &StageOutcome| {
        json!({
            "stage": stage.stage,
            "ran": stage.ran,
            "tags": stage.tags,
            "fields": stage.fields,
            "notes": stage.notes,
        })
    };
    let flags = explanation.report.flags.iter().map(
        |rule| json!({"rule": rule.id, "severity": rule.severity.as_str(), "says": rule.says}),
    );
    value["flags"] = flags.collect();
    value["quality_score"] = explanation.report.score().into();
    value["stages"] = explanation.stages.iter().map(stage).collect();
    value["line_protocol"] = explanation.line.clone().into();
}
