//! A real Home Assistant, and what became of every state that its recorder kept.
//!
//! It is one session, in which several producers, one a mode, look at the same home and write into
//! databases of their own; and one test, beside which others run, instead of several that wait for it.

mod house;
mod schema;
mod session;
mod states;

use std::collections::BTreeSet;

use serde_json::Value;

use session::{Compared, PASSING, Session, is_explained, session};

#[tokio::test]
async fn what_a_real_home_keeps_is_stored_on_every_way() {
    let session = Box::pin(session()).await;
    every_state_of_the_recorder_is_stored_and_nothing_else(&session);
    gap_fill_brings_what_happened_while_the_producer_was_dead_or_cut_off(&session);
    a_restart_of_home_assistant_leaves_no_gap(&session);
    the_audit_agrees_and_names_one_deleted_point(&session);
    the_schema_homeassistant_is_what_its_own_integration_writes(&session);
}

fn every_state_of_the_recorder_is_stored_and_nothing_else(session: &Session) {
    for mode in &session.live {
        assert!(mode.recorded > 1_500, "{} states", mode.recorded);
        assert_eq!(mode.problems, [""; 0], "{}", mode.name);
    }
}

/// But for what has a reason: the two states of [`PASSING`] where nobody looked, and one that the
/// recorder does not have.
fn assert_complete(mode: &Compared) {
    let (explained, problems): (Vec<_>, Vec<_>) = mode
        .problems
        .iter()
        .partition(|problem| is_explained(problem));
    assert_eq!(problems, [""; 0], "{}", mode.name);
    let passing = explained.iter().filter(|problem| problem.contains(PASSING));
    let expected = if mode.name == "service" { 0 } else { 2 };
    assert_eq!(passing.count(), expected, "{}: {explained:?}", mode.name);
    assert!(explained.len() <= 3, "{}: {explained:?}", mode.name);
}

fn gap_fill_brings_what_happened_while_the_producer_was_dead_or_cut_off(session: &Session) {
    for mode in &session.gap {
        let (problems, filled) = (&mode.problems, mode.backfilled);
        match mode.name {
            "queue" | "inline" => {
                assert_complete(mode);
                assert!(filled > 100, "{}: {filled}", mode.name);
            }
            // It was there all the time.
            _ => assert_eq!((problems, filled), (&Vec::new(), 0), "{}", mode.name),
        }
    }
}

fn a_restart_of_home_assistant_leaves_no_gap(session: &Session) {
    let mut filled = 0;
    for (mode, before) in session.restart.iter().zip(&session.gap) {
        assert_complete(mode);
        assert!(mode.recorded > before.recorded + 100, "{}", mode.name);
        filled += mode.backfilled - before.backfilled;
    }
    // Most of the start is received live: Home Assistant takes connections early.
    assert!(filled > 0);
}

fn the_audit_agrees_and_names_one_deleted_point(session: &Session) {
    for audit in &session.audits {
        assert_eq!(audit.whole.0, Some(0), "{}: {}", audit.name, audit.whole.1);
        let report = &audit.whole.1["history"];
        assert!(report["states"].as_u64() > Some(1_500), "{report:#}");
        assert_eq!(
            audit.deleted.0,
            Some(1),
            "{}: {}",
            audit.name,
            audit.deleted.1
        );
        assert_eq!(
            audit.deleted.1["history"]["missing"], 1,
            "{:#}",
            audit.deleted.1
        );
    }
}

/// Fields whose Python value JSON does not carry, and why: the list of
/// `docs/schema-homeassistant.md`.
const DIFFERENT: [(&str, &str); 2] = [
    ("hvac_modes_str", "a list of enumerations"),
    ("supported_color_modes_str", "a list of enumerations"),
];

fn the_schema_homeassistant_is_what_its_own_integration_writes(session: &Session) {
    let (ours, theirs) = &session.schema;
    assert!(theirs.len() > 1_500, "{} points", theirs.len());
    let only = |one: &schema::Points, other: &schema::Points| -> Vec<_> {
        let keys = one.keys().filter(|key| !other.contains_key(*key));
        keys.take(5).cloned().collect()
    };
    assert_eq!(only(theirs, ours), [], "written by the integration only");
    assert_eq!(only(ours, theirs), [], "written by us only");
    let mut different = BTreeSet::new();
    for (key, fields) in theirs {
        let of_ours = &ours[key];
        let names: BTreeSet<&String> = fields.keys().chain(of_ours.keys()).collect();
        for name in names {
            let (one, other) = (of_ours.get(name), fields.get(name));
            let same = match (one.and_then(Value::as_f64), other.and_then(Value::as_f64)) {
                (Some(one), Some(other)) => one == other,
                _ => one == other,
            };
            let listed = DIFFERENT.iter().find(|(field, _)| field == name);
            match listed {
                _ if same => {}
                Some((field, _)) => drop(different.insert(*field)),
                None => panic!("{name} of {key:?}: {one:?}, the integration has {other:?}"),
            }
        }
    }
    let listed: BTreeSet<_> = DIFFERENT.iter().map(|(field, _)| *field).collect();
    assert_eq!(different, listed, "each listed difference is there");
}
