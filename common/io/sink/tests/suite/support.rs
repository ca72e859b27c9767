//! What several test files need.

use ha_point::{Format, Lines, Point, PointBuffer, Value};
use ha_sink::{RejectedPoint, Sink, WriteOutcome};

/// Without a TLS provider reqwest panics even for http.
pub fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// `count` points; the bad ones have a text where the others have a number.
pub fn buffer(format: Format, count: usize, bad: &[usize]) -> PointBuffer {
    let mut buffer = PointBuffer::new(format);
    for index in 0..count {
        let time_ns = 1_700_000_000_000_000_000 + i64::try_from(index).unwrap();
        let mut point = Point::new("m", time_ns);
        point.tag("entity", format!("e{}", index % 7));
        let is_bad = bad.contains(&index);
        point.field(
            "value",
            if is_bad {
                Value::Text("x".into())
            } else {
                Value::Float(1.5)
            },
        );
        assert!(buffer.push(point));
    }
    buffer
}

/// One point with one text field.
pub fn text_point(
    buffer: &mut PointBuffer,
    measurement: &str,
    tag: &str,
    text: &str,
    time_ns: i64,
) {
    let mut point = Point::new(measurement, time_ns);
    point.tag("label", tag);
    point.field("text", Value::Text(text.into()));
    assert!(buffer.push(point));
}

pub fn rejected(outcome: WriteOutcome) -> Vec<RejectedPoint> {
    match outcome {
        WriteOutcome::Rejected(points) => points,
        other => panic!("expected rejected points, got {other:?}"),
    }
}

pub fn indices(points: &[RejectedPoint]) -> Vec<usize> {
    points.iter().map(|point| point.index).collect()
}

/// Writes and insists.
pub async fn written(sink: &Sink, buffer: &PointBuffer) {
    assert_eq!(sink.write(buffer).await, WriteOutcome::Written);
}

pub fn lines(buffer: &PointBuffer) -> &Lines {
    match buffer {
        PointBuffer::Lines(lines) => lines,
        PointBuffer::Rows(_) => panic!("rows"),
    }
}
