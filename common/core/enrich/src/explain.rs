//! What each stage does to one event, for people.

use crate::stages::{self, Outcome, STAGES};
use crate::{ObservedWeather, Options, Report, Schema, home_assistant};
use ha_batch::{Envelope, HomeFacts};
use ha_event::{Event, EventError};
use ha_point::{FieldKey, Point, Value};

/// One event's way through enrichment.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The stages in their order, those that did not run included.
    pub stages: Vec<StageOutcome>,
    /// What was found.
    pub report: Report,
    /// The line protocol of the point; none if no field is left to write.
    pub line: Option<String>,
}

/// What one stage did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageOutcome {
    /// The stage's name.
    pub stage: &'static str,
    /// Whether the depth calls for it.
    pub ran: bool,
    /// Tags that it added, `name=value`.
    pub tags: Vec<String>,
    /// Fields that it added, `name=value`; texts quoted.
    pub fields: Vec<String>,
    /// What it found, in words.
    pub notes: Vec<String>,
}

/// Runs the stages one by one over one event and says what each did.
///
/// # Errors
/// As [`crate::enrich`].
pub fn explain(
    envelope: &Envelope<'_>,
    home: Option<&HomeFacts<'_>>,
    options: &Options,
) -> Result<Explanation, EventError> {
    let parsed = ha_event::parse(&envelope.json)?;
    if let Schema::HomeAssistant(schema) = &options.schema {
        let point = home_assistant::point(&parsed, schema);
        return Ok(one_stage("homeassistant", point));
    }
    let event = match parsed {
        Event::StateChanged(event) => event,
        Event::Bus(event) => {
            return Ok(one_stage("bus", stages::other(&event, envelope)));
        }
    };
    let weather = home.and_then(|home| home.weather.as_ref());
    let observed = weather.map(ObservedWeather::of);
    let facts = stages::gather(&event, envelope, observed.as_slice(), options)?;
    let mut outcome = Outcome::new(&facts);
    let mut outcomes = Vec::with_capacity(STAGES.len());
    for stage in &STAGES {
        let mut said = StageOutcome {
            stage: stage.name,
            ..StageOutcome::default()
        };
        if stage.depth <= options.depth {
            said.ran = true;
            let before = (outcome.point.tags.len(), outcome.point.fields.len());
            let report = outcome.report;
            (stage.run)(&facts, &mut outcome);
            added(&mut said, &outcome.point, before);
            if outcome.report.flags != report.flags {
                let rules = outcome.report.flags.iter();
                said.notes.extend(
                    rules.map(|rule| {
                        format!("{} {}: {}", rule.severity.as_str(), rule.id, rule.says)
                    }),
                );
            }
            if outcome.report.weather != report.weather {
                said.notes.push(outcome.report.weather.says().to_owned());
            }
            let left_out = outcome.report.left_out;
            for (count, why) in [
                (left_out.unchanged, "as in the old state"),
                (left_out.excluded, "excluded by EXCLUDE_ATTRIBUTES"),
                (left_out.none_wanted, "not wanted (ATTRIBUTES=none)"),
            ] {
                if left_out != report.left_out && count > 0 {
                    let s = if count == 1 { "" } else { "s" };
                    said.notes
                        .push(format!("{count} attribute{s} left out: {why}"));
                }
            }
        }
        outcomes.push(said);
    }
    let report = outcome.report;
    Ok(Explanation {
        stages: outcomes,
        report,
        line: line(outcome.point),
    })
}

/// A point that is made in one piece.
fn one_stage(name: &'static str, point: Point<'_>) -> Explanation {
    let mut stage = StageOutcome {
        stage: name,
        ran: true,
        ..StageOutcome::default()
    };
    added(&mut stage, &point, (0, 0));
    if point.fields.is_empty() {
        stage.notes.push("left out by the schema".into());
    }
    Explanation {
        stages: vec![stage],
        report: Report::default(),
        line: line(point),
    }
}

fn added(stage: &mut StageOutcome, point: &Point<'_>, (tags, fields): (usize, usize)) {
    stage.tags.extend(
        point
            .tags
            .iter()
            .skip(tags)
            .map(|(name, value)| format!("{name}={value}")),
    );
    stage.fields.extend(
        point
            .fields
            .iter()
            .skip(fields)
            .map(|(key, value)| shown(key, value)),
    );
}

fn shown(key: &FieldKey<'_>, value: &Value<'_>) -> String {
    let name = key.joined();
    match value {
        Value::Float(number) => format!("{name}={number:?}"),
        Value::Integer(number) => format!("{name}={number}"),
        Value::Boolean(value) => format!("{name}={value}"),
        Value::Text(text) => format!("{name}={text:?}"),
    }
}

fn line(mut point: Point<'_>) -> Option<String> {
    point.seal().then(|| point.to_line())
}
