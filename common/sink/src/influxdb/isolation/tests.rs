//! The plan against a model of a database.

use ha_point::{Format, Point, PointBuffer, Value};
use proptest::prelude::*;

use super::*;
use crate::influxdb::answer::Words;

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
    let mut isolation = Isolation::new(lines, database(&all));
    while let Some(part) = isolation.next_part() {
        requests += 1;
        assert!(requests <= 3 * lines.len() + 2, "the plan does not end");
        let answer = database(part);
        isolation.answered(answer);
    }
    let rejected = match isolation.into_outcome() {
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
