//! The plan against a model of a database.

use ha_point::{Format, Lines, Point, PointBuffer, Value};
use proptest::prelude::*;

use super::*;
use crate::influxdb::answer::Words;
use crate::influxdb::attributes::AttributeFields;

/// `count` points a nanosecond apart; the bad ones have a text where the others have a number.
fn buffer(count: usize, bad: &[usize]) -> PointBuffer {
    let mut buffer = PointBuffer::new(Format::LineProtocol);
    for index in 0..count {
        let mut point = Point::new("m x", i64::try_from(index).unwrap());
        point.tag("entity", format!("e{index}"));
        let is_bad = bad.contains(&index);
        point.field(
            "value",
            if is_bad {
                Value::Text("1.5".into())
            } else {
                Value::Float(1.5)
            },
        );
        assert!(buffer.push(point));
    }
    buffer
}

fn lines(buffer: &PointBuffer) -> &Lines {
    match buffer {
        PointBuffer::Lines(lines) => lines,
        PointBuffer::Rows(_) => panic!("rows"),
    }
}

fn said(text: String) -> Answer {
    Answer::Lines(Words {
        text,
        ..Words::default()
    })
}

/// Runs the plan; returns the rejected lines and the number of requests, the first included.
fn run(lines: &Lines, mut database: impl FnMut(&[usize]) -> Answer) -> (Vec<usize>, usize) {
    let all: Vec<_> = (0..lines.len()).collect();
    let mut requests = 1;
    let attributes = AttributeFields::Prefixed;
    let (mut refusals, now) = (Refusals::new(attributes), Instant::now());
    let batch = Batch::new(lines, attributes);
    let mut isolation = Isolation::new(batch, database(&all), &mut refusals, now);
    while let Some(part) = isolation.next_part(&refusals) {
        requests += 1;
        assert!(requests <= 3 * lines.len() + 2, "the plan does not end");
        let answer = database(part);
        isolation.answered(answer, &mut refusals, now);
    }
    assert!(refusals.is_empty(), "no attribute was refused");
    let rejected = match isolation.into_outcome().0 {
        WriteOutcome::Written => Vec::new(),
        WriteOutcome::Rejected(points) => points.iter().map(|point| point.index).collect(),
        other => panic!("{other:?}"),
    };
    (rejected, requests)
}

/// A database that answers with the given message when some lines of the part are bad.
fn refusing<'a>(
    bad: &'a [usize],
    message: impl Fn(&[usize]) -> String + 'a,
) -> impl FnMut(&[usize]) -> Answer + 'a {
    move |part| {
        let found: Vec<_> = part
            .iter()
            .copied()
            .filter(|line| bad.contains(line))
            .collect();
        if found.is_empty() {
            Answer::Stored
        } else {
            said(message(&found))
        }
    }
}

fn conflict(found: &[usize]) -> String {
    format!(
        "partial write: field type conflict: input field \"value\" on measurement \"m x\" is type \
         string, already exists as type float dropped={}",
        found.len()
    )
}

fn unparsable(lines: &Lines, found: &[usize]) -> String {
    let quotes: Vec<_> = found
        .iter()
        .map(|&line| {
            let text = String::from_utf8_lossy(lines.slice(line, line + 1).trim_ascii_end());
            format!("unable to parse '{text}': invalid number")
        })
        .collect();
    format!("partial write: {} dropped=0", quotes.join("\n"))
}

#[test]
fn three_bad_lines_of_a_thousand_take_few_requests() {
    let bad = [17, 500, 999];
    let buffer = buffer(1000, &bad);
    let lines = lines(&buffer);
    let (rejected, requests) = run(lines, refusing(&bad, conflict));
    assert_eq!((rejected, requests), (bad.to_vec(), 3), "conflict");
    let (rejected, requests) = run(lines, refusing(&bad, |found| unparsable(lines, found)));
    assert_eq!((rejected, requests), (bad.to_vec(), 5), "all quoted");
    let (rejected, requests) = run(
        lines,
        refusing(&bad, |found| unparsable(lines, &found[..1])),
    );
    assert_eq!(
        (rejected, requests),
        (bad.to_vec(), 7),
        "one quoted at a time"
    );
    let (rejected, requests) = run(lines, refusing(&bad, |_| "no".to_owned()));
    assert_eq!(rejected, bad, "no hint");
    assert!(requests <= 50, "no hint: {requests}");
}

#[test]
fn the_oldest_lines_are_suspected_of_being_beyond_retention() {
    let bad: Vec<_> = (0..40).collect();
    let buffer = buffer(1000, &[]);
    let message = |found: &[usize]| {
        format!(
            "partial write: points beyond retention policy dropped={}",
            found.len()
        )
    };
    let (rejected, requests) = run(lines(&buffer), refusing(&bad, message));
    assert_eq!((rejected, requests), (bad.clone(), 42));
}

#[test]
fn numbers_of_lines_count_from_one_in_the_part_that_was_sent() {
    let bad = [3, 700];
    let buffer = buffer(1000, &[]);
    let (rejected, requests) = run(lines(&buffer), |part| {
        let numbers: Vec<_> = (1..=part.len())
            .filter(|number| bad.contains(&part[number - 1]))
            .collect();
        if numbers.is_empty() {
            return Answer::Stored;
        }
        Answer::Lines(Words {
            text: "partial write".to_owned(),
            line_numbers: numbers,
        })
    });
    assert_eq!((rejected, requests), (bad.to_vec(), 4));
}

#[test]
fn too_large_is_halved_and_one_line_too_large_is_rejected() {
    let buffer = buffer(100, &[]);
    let (rejected, requests) = run(lines(&buffer), |part| {
        if part.contains(&42) || part.len() > 30 {
            Answer::TooLarge(Words::default())
        } else {
            Answer::Stored
        }
    });
    assert_eq!(rejected, [42]);
    assert!(requests < 20, "{requests}");
}

#[test]
fn all_bad_for_one_reason_is_one_request() {
    let bad: Vec<_> = (0..200).collect();
    let buffer = buffer(200, &bad);
    let (rejected, requests) = run(lines(&buffer), refusing(&bad, conflict));
    assert_eq!((rejected, requests), (bad, 1));
}

/// Two conflicts, of which the message names one and counts both: no line gets the other's words.
#[test]
fn all_dropped_but_not_all_of_the_named_conflict_is_asked_line_by_line() {
    let (bad, strange) = ([1, 2, 3], [0, 4]);
    let buffer = buffer(5, &bad);
    let (rejected, requests) = run(lines(&buffer), |part| {
        let named = part.iter().any(|line| bad.contains(line));
        match named {
            true => said(conflict(part)),
            false => said(format!(
                "partial write: another conflict dropped={}",
                part.len()
            )),
        }
    });
    assert_eq!(rejected, [0, 1, 2, 3, 4]);
    assert!(requests > strange.len(), "{requests}");
}

#[test]
fn a_database_that_changes_its_mind_rejects_nothing() {
    let buffer = buffer(100, &[]);
    let mut first = true;
    let (rejected, _) = run(lines(&buffer), |_| {
        if std::mem::take(&mut first) {
            said("no".to_owned())
        } else {
            Answer::Stored
        }
    });
    assert!(rejected.is_empty());
}

proptest! {
    #[test]
    fn exactly_the_bad_lines_whatever_the_hints_say(
        count in 1usize..120,
        bad in prop::collection::btree_set(0usize..120, 0..40),
        lie in 0usize..5,
        size_max in 1usize..200,
    ) {
        let bad: Vec<_> = bad.into_iter().filter(|line| *line < count).collect();
        let buffer = buffer(count, &bad);
        let lines = lines(&buffer);
        let (rejected, _) = run(lines, |part| {
            if part.len() > size_max {
                return Answer::TooLarge(Words::default());
            }
            let found: Vec<_> = part.iter().copied().filter(|line| bad.contains(line)).collect();
            if found.is_empty() {
                return Answer::Stored;
            }
            match lie {
                0 => said(conflict(&found)),
                1 => said(unparsable(lines, &part[..1])),
                2 => said("points beyond retention policy dropped=3".to_owned()),
                3 => Answer::Lines(Words { text: String::new(), line_numbers: vec![1, 7, 99_999] }),
                _ => said("no".to_owned()),
            }
        });
        prop_assert_eq!(rejected, bad);
    }
}

#[path = "../../../tests/suite/tables.rs"]
#[allow(dead_code, reason = "the tests over HTTP use more of it")]
mod tables;
use tables::{Server, Tables};

/// Names of attributes; the first ones may conflict.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// One write as the client makes it. Returns the rejected lines, what was left out, and the requests.
fn write(
    lines: &Lines,
    refusals: &mut Refusals,
    tables: &mut Tables,
    now: Instant,
) -> (Vec<usize>, LeftOut, usize) {
    let mut batch = Batch::new(lines, AttributeFields::Prefixed);
    refusals.forget(now);
    for line in 0..lines.len() {
        batch.leave_out_known(line, refusals);
    }
    let mut post = |body: &[u8]| match tables.write(std::str::from_utf8(body).unwrap()) {
        None => Answer::Stored,
        Some((_, body)) => {
            let headers = reqwest::header::HeaderMap::new();
            Answer::Lines(crate::influxdb::answer::words_of(&headers, body.as_bytes()))
        }
    };
    let all: Vec<_> = (0..lines.len()).collect();
    let body = batch.whole();
    let answer = post(&body);
    if answer == Answer::Stored {
        refusals.keep(&body);
        batch.tell_stored(&all, refusals);
        return (Vec::new(), batch.left_out(&HashSet::new()), 1);
    }
    let mut requests = 1;
    let mut isolation = Isolation::new(batch, answer, refusals, now);
    while let Some(body) = isolation.next_body(refusals) {
        requests += 1;
        assert!(requests <= 12 * lines.len() + 12, "the plan does not end");
        isolation.answered(post(&body), refusals, now);
    }
    match isolation.into_outcome() {
        (WriteOutcome::Written, left_out) => (Vec::new(), left_out, requests),
        (WriteOutcome::Rejected(points), left_out) => {
            let points = points.iter().map(|point| point.index);
            (points.collect(), left_out, requests)
        }
        (other, _) => panic!("{other:?}"),
    }
}

proptest! {
    /// Every state is stored once and whole, unless its own fields conflict; what is missing of its
    /// attributes is counted, and named where there is a column for it; and of conflicts nothing else
    /// is missing than the attributes that conflict.
    #[test]
    fn no_state_is_lost_for_an_attribute(
        batches in prop::collection::vec(
            prop::collection::vec((prop::collection::btree_set(0..NAMES.len(), 0..6), prop::bool::weighted(0.1)), 1..25),
            1..5,
        ),
        conflicts in 0usize..4,
        columns_max in prop::option::of(5usize..16),
        is_v2: bool,
        pause_s in 0u64..400,
    ) {
        let server = match is_v2 {
            true => Server::V2,
            false => Server::Core { columns_max: columns_max.unwrap_or(500) },
        };
        let mut tables = Tables::new(server);
        // The own fields have their columns, one of them with another type, as some attributes have.
        prop_assert!(tables.write("m,entity=x state=\"on\",value=1,removed=1 1").is_none());
        for name in &NAMES[..conflicts] {
            tables.write(&format!("m,entity=x attr_{name}=\"x\" 1"));
        }
        tables.points.clear();
        let is_limited = columns_max.is_some() && !is_v2;
        let mut refusals = Refusals::new(AttributeFields::Prefixed);
        let mut now = Instant::now();
        for (number, events) in batches.iter().enumerate() {
            let mut points = PointBuffer::new(Format::LineProtocol);
            for (index, (names, is_bad)) in events.iter().enumerate() {
                let mut point = Point::new("m", i64::try_from(number * 100 + index).unwrap());
                point.tag("entity", format!("e{index}"));
                point.field("state", Value::Text("on".into()));
                point.field("value", Value::Float(1.5));
                if *is_bad {
                    point.field("removed", Value::Boolean(true));
                }
                for name in names {
                    let prefix = ha_point::Prefix::Attribute;
                    point.prefixed(prefix, NAMES[*name].into(), Value::Float(2.5));
                }
                prop_assert!(points.push(point));
            }
            tables.points.clear();
            let (rejected, left_out, _) = write(lines(&points), &mut refusals, &mut tables, now);
            let bad = events.iter().enumerate().filter(|(_, (_, is_bad))| *is_bad);
            let bad: Vec<_> = bad.map(|(index, _)| index).collect();
            prop_assert_eq!(rejected, bad);
            let mut missing = 0;
            for (index, (names, is_bad)) in events.iter().enumerate() {
                let key = (format!("m,entity=e{index}"), (number * 100 + index).to_string());
                let Some(point) = tables.points.get(&key) else {
                    prop_assert!(is_bad, "{:?} is lost", key);
                    continue;
                };
                prop_assert_eq!(&point["state"], "\"on\"");
                prop_assert_eq!(&point["value"], "1.5");
                let is_there = |name: &&usize| point.contains_key(&format!("attr_{}", NAMES[**name]));
                let gone: Vec<_> = names.iter().filter(|name| !is_there(name)).map(|name| NAMES[*name]).collect();
                missing += gone.len() as u64;
                let conflicting = names.iter().filter(|name| **name < conflicts).count();
                prop_assert!(gone.len() == conflicting || is_limited && gone.len() > conflicting);
                let named = point.get("attributes_left_out").cloned();
                let list = format!("\"{}\"", serde_json::json!(gone).to_string().replace('"', "\\\""));
                if let Some(named) = named {
                    prop_assert_eq!(named, list);
                } else {
                    prop_assert!(gone.is_empty() || is_limited);
                }
            }
            let counted: u64 = crate::LeftOutReason::ALL.iter().map(|reason| left_out.count(*reason)).sum();
            prop_assert_eq!(counted, missing);
            now += std::time::Duration::from_secs(pause_s);
        }
    }
}

/// A table that is full, and among many points one new name, again and again: the common columns are
/// never left out, and a name costs requests once.
#[test]
fn a_new_name_among_many_columns_costs_few_requests_and_once() {
    let core = Server::Core { columns_max: 12 };
    let (mut tables, mut refusals) = (Tables::new(core), Refusals::new(AttributeFields::Prefixed));
    let now = Instant::now();
    let batch = |new: Option<&str>, count: usize| {
        let mut points = PointBuffer::new(Format::LineProtocol);
        for index in 0..count {
            let mut point = Point::new("m", i64::try_from(index).unwrap());
            point.tag("entity", format!("e{index}"));
            point.field("state", Value::Text("on".into()));
            // Every point has other ones of the eight, the one with the new name has four.
            let shown = if index == 77 { 4 } else { 1 };
            for name in NAMES.iter().cycle().skip(index).take(shown) {
                point.prefixed(
                    ha_point::Prefix::Attribute,
                    (*name).into(),
                    Value::Float(1.0),
                );
            }
            if let Some(new) = new.filter(|_| index == 77) {
                point.prefixed(
                    ha_point::Prefix::Attribute,
                    new.to_owned().into(),
                    Value::Float(1.0),
                );
            }
            assert!(points.push(point));
        }
        points
    };
    // Some other field takes the last column.
    assert!(tables.write("m other=1 1").is_none());
    let mut send = |new: Option<&str>, count| {
        let points = batch(new, count);
        let (rejected, left_out, requests) = write(lines(&points), &mut refusals, &mut tables, now);
        assert_eq!(rejected, [0; 0]);
        (left_out.count(crate::LeftOutReason::ColumnLimit), requests)
    };
    assert_eq!(send(None, 100), (0, 1));
    let (left_out, requests) = send(Some("n1"), 100);
    assert!(left_out == 1 && requests <= 18, "{left_out} {requests}");
    assert_eq!(send(Some("n1"), 100), (1, 1), "remembered");
    let (left_out, requests) = send(Some("n2"), 100);
    assert!(left_out == 1 && requests <= 4, "{left_out} {requests}");
    assert_eq!(send(None, 100), (0, 1));
}
