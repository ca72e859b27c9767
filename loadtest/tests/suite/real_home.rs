//! A real Home Assistant, and what became of every state that its recorder kept.
//!
//! It is started once for all tests here: several producers, one a mode, look at the same home and
//! write into databases of their own.

mod house;
mod session;
mod states;

use session::session;

#[test]
fn every_state_of_the_recorder_is_stored_and_nothing_else() {
    let session = session();
    for mode in &session.live {
        assert!(mode.recorded > 1_500, "{} states", mode.recorded);
        assert_eq!(mode.problems, [""; 0], "{}", mode.name);
    }
}

#[test]
fn the_audit_agrees_and_names_one_deleted_point() {
    let session = session();
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
