//! The memory by itself; with answers of a database it is in the tests of the isolation.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn line(attributes: &[&str]) -> Vec<u8> {
    let fields: String = attributes
        .iter()
        .map(|name| format!("attr_{name}=1,"))
        .collect();
    format!("m,t=a {fields}state=\"on\" 7").into_bytes()
}

fn without(names: &[&str], reason: LeftOutReason, known: Known) -> Reduction {
    let name = |name: &&str| format!("attr_{name}").into_bytes();
    Reduction {
        removed: names
            .iter()
            .map(|n| (name(n), (reason, known)))
            .collect::<BTreeMap<_, _>>(),
        names_them: true,
        naming_refused: None,
    }
}

fn memory() -> (Refusals, Instant) {
    (Refusals::new(AttributeFields::Prefixed), Instant::now())
}

fn refused(
    memory: &mut Refusals,
    names: &[&str],
    reason: LeftOutReason,
    known: Known,
    now: Instant,
) {
    let line = line(names);
    let reduction = without(names, reason, known);
    if reason == ColumnLimit {
        memory.found_full(&LineParts::of(&line).unwrap(), now);
    }
    memory.refused(&LineParts::of(&line).unwrap(), &reduction, now);
}

fn stored(memory: &mut Refusals, names: &[&str]) {
    memory.stored(&LineParts::of(&line(names)).unwrap());
}

fn known(memory: &Refusals, names: &[&str]) -> Vec<String> {
    let line = line(names);
    let known = memory.known(&LineParts::of(&line).unwrap());
    let name = |(name, _): &(&[u8], _)| String::from_utf8_lossy(&name[5..]).into_owned();
    known.iter().map(name).collect()
}

fn refused_write(memory: &mut Refusals, names: &[&str]) {
    let line = line(names);
    memory.refused_write(LineParts::of(&line).into_iter());
}

use LeftOutReason::{ColumnLimit, InvalidField, TypeConflict};

#[test]
fn a_conflict_holds_for_its_measurement_name_and_type_and_for_a_time() {
    let (mut memory, now) = memory();
    refused(&mut memory, &["a"], TypeConflict, Known::Named, now);
    assert_eq!(known(&memory, &["a", "b"]), ["a"]);
    for other in [
        "m2 attr_a=1 7",
        "m attr_a=\"x\" 7",
        "m attr_a=1i 7",
        "m attr_a2=1 7",
    ] {
        let parts = LineParts::of(other.as_bytes()).unwrap();
        assert!(memory.known(&parts).is_empty(), "{other}");
    }
    assert_eq!(memory.take_news().len(), 1);
    // Left out again and again: it is not refused again, and not remembered for longer.
    let later = now + TRIED_AGAIN_AFTER / 2;
    refused(&mut memory, &["a"], TypeConflict, Known::Remembered, later);
    memory.forget(now + TRIED_AGAIN_AFTER - Duration::from_millis(1));
    assert_eq!(known(&memory, &["a"]), ["a"]);
    memory.forget(now + TRIED_AGAIN_AFTER);
    assert!(memory.is_empty());
    assert!(memory.take_news().is_empty());
}

#[test]
fn what_was_not_named_or_is_about_one_value_is_not_remembered() {
    let (mut memory, now) = memory();
    refused(&mut memory, &["a", "b"], TypeConflict, Known::Guessed, now);
    refused(&mut memory, &["a"], InvalidField, Known::Named, now);
    assert!(memory.is_empty());
}

#[test]
fn of_a_full_table_known_columns_stay_and_new_names_are_left_out() {
    let (mut memory, now) = memory();
    refused(&mut memory, &["new"], ColumnLimit, Known::Guessed, now);
    assert_eq!(
        memory.take_news(),
        [News::FullTable {
            measurement: "m".into()
        }]
    );
    stored(&mut memory, &["old"]);
    // The only one that it can have been is left out at once, of others nothing is known.
    assert_eq!(known(&memory, &["new", "old", "other"]), ["new"]);
    // Several were suspected: which one it was, is found out when the others are stored.
    refused(&mut memory, &["x", "y"], ColumnLimit, Known::Guessed, now);
    refused(&mut memory, &["x", "z"], ColumnLimit, Known::Guessed, now);
    stored(&mut memory, &["y"]);
    assert!(known(&memory, &["x", "y", "z"]).is_empty());
    refused(&mut memory, &["x", "z"], ColumnLimit, Known::Guessed, now);
    assert_eq!(known(&memory, &["x", "y", "z"]), ["x"]);
    assert!(memory.take_news().is_empty());
}

#[test]
fn what_was_stored_before_a_table_was_full_tells_its_columns() {
    let (mut memory, now) = memory();
    let body = |names: &[&str]| {
        let one = String::from_utf8(line(names)).unwrap();
        Arc::new(format!("{one}\nm,t=b attr_s=1,state=\"a\nb\" 8\n{one}\n").into_bytes())
    };
    let large = Arc::new(vec![b'x'; RECENT_BYTES_MAX]);
    for (n, body) in [body(&["a"]), body(&["b", "c"]), large, body(&["new"])]
        .iter()
        .enumerate()
    {
        memory.keep(body);
        assert_eq!(
            memory.recent.len(),
            [1, 2, 2, 3][n],
            "what is too large is not kept"
        );
    }
    let (names, reason) = (["other", "another"], ColumnLimit);
    refused(&mut memory, &names, reason, Known::Guessed, now);
    let columns = &memory.tables[b"m".as_slice()]
        .full
        .as_ref()
        .unwrap()
        .columns;
    let mut columns: Vec<_> = columns
        .iter()
        .map(|name| String::from_utf8_lossy(name))
        .collect();
    columns.sort();
    assert_eq!(
        columns,
        ["attr_a", "attr_b", "attr_c", "attr_new", "attr_s"]
    );
    for _ in 0..3 {
        memory.keep(&Arc::new(Vec::with_capacity(RECENT_BYTES_MAX / 2 - 64)));
    }
    assert_eq!(
        (memory.recent.len(), memory.recent_bytes),
        (2, RECENT_BYTES_MAX)
    );
}

#[test]
fn after_many_refused_writes_only_known_columns_are_written_until_it_is_tried_again() {
    let (mut memory, now) = memory();
    refused(&mut memory, &["new"], ColumnLimit, Known::Guessed, now);
    stored(&mut memory, &["old"]);
    for _ in 0..REFUSED_WRITES_MAX {
        assert!(known(&memory, &["old", "other"]).is_empty());
        refused_write(&mut memory, &["old", "other"]);
    }
    assert_eq!(known(&memory, &["old", "other"]), ["other"]);
    let parts = line(&["old"]);
    let parts = LineParts::of(&parts).unwrap();
    assert!(!memory.takes_naming_field(&parts));
    // A refused write of known columns was refused for something else.
    memory.forget(now + TRIED_AGAIN_AFTER);
    assert!(
        known(&memory, &["old", "other", "new"]).is_empty(),
        "all are tried again"
    );
    assert!(memory.takes_naming_field(&parts));
    for _ in 0..REFUSED_WRITES_MAX {
        refused_write(&mut memory, &["old"]);
    }
    assert!(known(&memory, &["other"]).is_empty());
    // Nothing was refused in all that time: the limit was raised.
    memory.forget(now + 2 * TRIED_AGAIN_AFTER);
    assert!(memory.is_empty());
}

#[test]
fn tables_and_names_have_limits() {
    let (mut memory, now) = memory();
    for n in 0..2 * TABLES_MAX {
        let line = format!("m{n} attr_a=1,state=\"on\" 7");
        let reduction = without(&["a"], ColumnLimit, Known::Guessed);
        let parts = LineParts::of(line.as_bytes()).unwrap();
        assert_eq!(memory.found_full(&parts, now), n < TABLES_MAX);
        memory.refused(&parts, &reduction, now);
    }
    assert_eq!(memory.tables.len(), TABLES_MAX);
    let (mut memory, now) = self::memory();
    let long = "x".repeat(NAME_BYTES_MAX);
    for n in 0..2 * NAMES_MAX {
        refused(
            &mut memory,
            &[&format!("c{n}")],
            TypeConflict,
            Known::Named,
            now,
        );
        refused(
            &mut memory,
            &[&format!("a{n}")],
            ColumnLimit,
            Known::Guessed,
            now,
        );
        stored(&mut memory, &[&format!("b{n}"), &long]);
    }
    let table = &memory.tables[b"m".as_slice()];
    let full = table.full.as_ref().unwrap();
    let sizes = [table.conflicts.len(), full.doubts.len(), full.columns.len()];
    assert_eq!(sizes, [NAMES_MAX; 3]);
    assert!(!full.columns.contains(format!("attr_{long}").as_bytes()));
}

proptest! {
    /// Whatever happened: a name that was stored after it was last refused is written, one that was
    /// never refused is written while refused writes are few, and what was refused is forgotten.
    #[test]
    fn what_was_stored_last_is_written(
        steps in prop::collection::vec((0u8..3, 0usize..6, 0usize..6), 1..60),
    ) {
        const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let (mut memory, now) = memory();
        refused(&mut memory, &["first"], ColumnLimit, Known::Guessed, now);
        let mut last = [None; NAMES.len()];
        let mut writes = 0;
        for (step, one, two) in steps {
            let names = if one == two { vec![NAMES[one]] } else { vec![NAMES[one], NAMES[two]] };
            match step {
                0 => {
                    stored(&mut memory, &names);
                    (last[one], last[two]) = (Some(true), Some(true));
                }
                1 => {
                    refused(&mut memory, &names, ColumnLimit, Known::Guessed, now);
                    (last[one], last[two]) = (Some(false), Some(false));
                }
                _ => {
                    let line = line(&names);
                    writes += u32::from(memory.is_suspect(&LineParts::of(&line).unwrap()));
                    refused_write(&mut memory, &names);
                }
            }
            for (name, last) in NAMES.iter().zip(last) {
                let is_left_out = !known(&memory, &[name]).is_empty();
                match last {
                    Some(true) => prop_assert!(!is_left_out),
                    None => prop_assert_eq!(is_left_out, writes >= REFUSED_WRITES_MAX),
                    Some(false) => prop_assert!(is_left_out || writes < REFUSED_WRITES_MAX),
                }
            }
        }
        memory.forget(now + TRIED_AGAIN_AFTER);
        for name in NAMES {
            prop_assert!(known(&memory, &[name]).is_empty());
        }
        memory.forget(now + 2 * TRIED_AGAIN_AFTER);
        prop_assert!(memory.is_empty());
    }
}
