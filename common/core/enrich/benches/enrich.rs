//! Events a second on one core, on a real capture: parsing alone, decoding, each stage, encoding, the
//! whole way to line protocol, and the whole with one option changed.
//!
//! `cargo bench -p ha-enrich` prints one table and the ratios of the whole to parsing alone: once only
//! looking whether it is JSON, once making the values that enrichment needs. All rows
//! are measured turn by turn in processor time, and the best turn of each counts, so that neighbours
//! on the machine disturb all alike or none. Instructions, which nothing disturbs, are counted with
//! `examples/passes.rs`.

#![allow(
    clippy::expect_used,
    reason = "a benchmark on unreadable input has nothing to measure"
)]

#[path = "enrich/typed.rs"]
mod typed;

use ha_enrich::{
    AttributePolicy, Depth, ObservedWeather, Options, STAGE_NAMES, enrich_among,
    enrich_first_stages,
};
use ha_point::{Format, Point, PointBuffer, encode_line};
use serde::de::IgnoredAny;
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

/// Turns of every row.
const TURNS: usize = 60;

/// The capture is measured in this many parts; the best turn of each counts: on a busy machine
/// hardly any skip the whole is left alone, and most parts are at least once.
const PARTS: usize = 20;

/// Processor time of this thread: what others do on the machine is not counted.
fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// One skip the capture, and what it cost.
struct Row<'a> {
    name: String,
    pass: Box<dyn FnMut(Range<usize>) + 'a>,
    best: [Duration; PARTS],
    /// A stage: what it costs is the difference to the row before.
    is_step: bool,
}

impl Row<'_> {
    /// Of the whole capture.
    fn ns(&self) -> f64 {
        self.best.iter().sum::<Duration>().as_secs_f64() * 1e9
    }
}

struct Table<'a> {
    rows: Vec<Row<'a>>,
    events: usize,
    bytes: usize,
}

impl<'a> Table<'a> {
    fn row(&mut self, name: impl Into<String>, pass: impl FnMut(Range<usize>) + 'a) {
        self.rows.push(Row {
            name: name.into(),
            pass: Box::new(pass),
            best: [Duration::MAX; PARTS],
            is_step: false,
        });
    }

    fn step(&mut self, name: impl Into<String>, pass: impl FnMut(Range<usize>) + 'a) {
        self.row(name, pass);
        self.rows.last_mut().expect("it was just added").is_step = true;
    }

    fn measure(&mut self) {
        // The first turn warms up.
        for turn in 0..=TURNS {
            for row in &mut self.rows {
                for (part, best) in row.best.iter_mut().enumerate() {
                    let events = self.events * part / PARTS..self.events * (part + 1) / PARTS;
                    let before = cpu_time();
                    (row.pass)(events);
                    let took = cpu_time() - before;
                    if turn > 0 {
                        *best = took.min(*best);
                    }
                }
            }
        }
    }

    fn print(&mut self) {
        println!(
            "{:30} {:>12} {:>9} {:>12} {:>13} {:>8}",
            "", "ns an event", "events/s", "bytes/s", "allocations", "bytes"
        );
        let (events, bytes) = (self.events as f64, self.bytes as f64);
        let mut before = (0.0, 0.0, 0.0);
        for row in &mut self.rows {
            // The first makes room for the lines of all.
            (row.pass)(0..self.events);
            let allocated = allocation_counter::measure(|| (row.pass)(0..self.events));
            let whole = (
                row.ns() / events,
                allocated.count_total as f64 / events,
                allocated.bytes_total as f64 / events,
            );
            let (ns, count, size) = match row.is_step {
                true => (whole.0 - before.0, whole.1 - before.1, whole.2 - before.2),
                false => whole,
            };
            before = whole;
            // Less is not told from nothing.
            let rates = match ns >= 1.0 {
                true => format!("{:>9.0} {:>9.0} MB", 1e9 / ns, bytes / events / ns * 1e3),
                false => format!("{:>9} {:>12}", "-", "-"),
            };
            println!(
                "{:30} {ns:>12.0} {rates} {count:>13.1} {size:>8.0}",
                row.name
            );
        }
    }

    fn ns(&self, name: &str) -> f64 {
        let row = self.rows.iter().find(|row| row.name == name);
        row.map_or(f64::NAN, |row| row.ns() / self.events as f64)
    }
}

const ALONE: &str = "serde_json alone (IgnoredAny)";
const TYPED: &str = "serde_json alone (typed)";
const WHOLE: &str = "whole";

fn main() {
    let events = ha_capture::events();
    let envelopes: Vec<_> = events
        .iter()
        .enumerate()
        .map(ha_capture::envelope)
        .collect();
    let weather = ha_capture::weather();
    // As the pipeline does: read once a batch.
    let observed = [ObservedWeather::of(&weather)];
    let full = Options::default();
    let plain = Options {
        depth: Depth::Plain,
        ..full.clone()
    };
    let variants = [
        (WHOLE, full.clone()),
        ("whole, plain depth", plain.clone()),
        (
            "whole, plain, no attributes",
            Options {
                attributes: AttributePolicy::None,
                ..plain
            },
        ),
        (
            "whole, without weather",
            Options {
                weather: false,
                ..full.clone()
            },
        ),
        (
            "whole, units normalized",
            Options {
                normalize_units: true,
                ..full.clone()
            },
        ),
        (
            "whole, context fields",
            Options {
                context_fields: true,
                ..full.clone()
            },
        ),
        (
            "whole, all attributes",
            Options {
                attributes: AttributePolicy::All,
                ..full.clone()
            },
        ),
    ];
    let sealed: Vec<Point<'_>> = envelopes
        .iter()
        .map(|envelope| {
            let (mut point, _) = enrich_among(envelope, &observed, &full).expect("an event");
            point.seal();
            point
        })
        .collect();

    let mut table = Table {
        rows: Vec::new(),
        events: events.len(),
        bytes: events.iter().map(Vec::len).sum(),
    };
    table.row(ALONE, |part| {
        for json in &events[part] {
            black_box(serde_json::from_slice::<IgnoredAny>(json).expect("JSON"));
        }
    });
    table.row(TYPED, |part| {
        for json in &events[part] {
            black_box(serde_json::from_slice::<typed::Event<'_>>(json).expect("an event"));
        }
    });
    table.row("serde_json alone (Value)", |part| {
        for json in &events[part] {
            black_box(serde_json::from_slice::<serde_json::Value>(json).expect("JSON"));
        }
    });
    table.row("peek (the producer's look)", |part| {
        for json in &events[part] {
            black_box(ha_event::peek(json).expect("an event"));
        }
    });
    table.row("decode", |part| {
        for json in &events[part] {
            black_box(ha_event::parse(json).expect("an event"));
        }
    });
    // A stage is what the whole up to it costs more than the whole up to the one before.
    let up_to = |stages: usize| {
        let (envelopes, observed, full) = (&envelopes, &observed, &full);
        move |part: Range<usize>| {
            for envelope in &envelopes[part] {
                let done = enrich_first_stages(envelope, observed, full, stages);
                black_box(done.expect("an event"));
            }
        }
    };
    table.step("gather facts", up_to(0));
    for (stages, name) in (1..).zip(STAGE_NAMES) {
        table.step(format!("stage {name}"), up_to(stages));
    }
    let mut out = Vec::new();
    table.row("encode", move |part| {
        out.clear();
        for point in &sealed[part] {
            encode_line(point, &mut out);
        }
        black_box(&out);
    });
    for (name, options) in &variants {
        let (envelopes, observed) = (&envelopes, &observed);
        let mut out = Vec::new();
        table.row(*name, move |part| {
            out.clear();
            for envelope in &envelopes[part] {
                let done = enrich_among(envelope, observed, options);
                let (mut point, report) = done.expect("an event");
                black_box(report);
                if point.seal() {
                    encode_line(&point, &mut out);
                }
            }
            black_box(&out);
        });
    }
    table.row("whole, as rows for SQLite", |part| {
        let mut buffer = PointBuffer::new(Format::Rows);
        for envelope in &envelopes[part] {
            let (point, _) = enrich_among(envelope, &observed, &full).expect("an event");
            buffer.push(point);
        }
        black_box(&buffer);
    });

    table.measure();
    println!(
        "{} events of {} B; processor time of one core, the best of {TURNS} turns of each part",
        table.events,
        table.bytes / table.events
    );
    table.print();
    for parsing in [ALONE, TYPED] {
        let ratio = table.ns(parsing) / table.ns(WHOLE);
        println!("{WHOLE} / {parsing} = {ratio:.2} in events/s");
    }
}
