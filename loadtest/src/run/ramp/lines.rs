//! Lines as the product writes them, made beforehand, so that the bare writer only writes.

use std::io::Write as _;

use anyhow::ensure;
use ha_enrich::{Options, enrich};
use ha_frame::{Envelope, Origin};
use ha_point::encode_line;
use ha_simulator::{HouseOptions, Simulator, SimulatorOptions};

const EVENTS: u64 = 20_000;
/// Nanoseconds since the epoch have so many digits in this century, and a line has an end.
const TIME_BYTES: usize = 20;

/// Lines of different points for ever: each pass over the house's events has other times.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    /// Everything before the time.
    heads: Vec<Vec<u8>>,
    times_ns: Vec<i64>,
    /// From the first time to beyond the last.
    span_ns: i64,
    next: u64,
}

impl Lines {
    /// Of the simulated house's own events, for a home of this name.
    pub(super) fn of_house(entities: usize, instance: &str) -> anyhow::Result<Self> {
        let options = SimulatorOptions {
            house: HouseOptions {
                entities,
                ..HouseOptions::default()
            },
            ..SimulatorOptions::default()
        };
        let (mut heads, mut times_ns) = (Vec::new(), Vec::new());
        for (sequence, json) in (1..).zip(Simulator::sample(options, EVENTS)) {
            let envelope = Envelope {
                id: Default::default(),
                instance: instance.into(),
                epoch: Some(1),
                sequence: Some(sequence),
                received_at_ns: 0,
                origin: Origin::Live,
                json: json.as_bytes().into(),
            };
            let mut point = enrich(&envelope, None, &Options::default())?;
            let mut line = Vec::new();
            if !point.seal() {
                continue;
            }
            encode_line(&point, &mut line);
            while line.last() == Some(&b'\n') {
                line.pop();
            }
            let Some(space) = line.iter().rposition(|byte| *byte == b' ') else {
                continue;
            };
            times_ns.push(std::str::from_utf8(&line[space + 1..])?.parse()?);
            line.truncate(space + 1);
            heads.push(line);
        }
        ensure!(!heads.is_empty(), "the house has no events to write");
        let least = times_ns.iter().min().copied().unwrap_or_default();
        let largest = times_ns.iter().max().copied().unwrap_or_default();
        Ok(Self {
            heads,
            times_ns,
            span_ns: largest - least + 1_000,
            next: 0,
        })
    }

    /// Bytes of a line, with its time and its end.
    pub(super) fn mean_bytes(&self) -> f64 {
        let bytes: usize = self.heads.iter().map(|head| head.len() + TIME_BYTES).sum();
        (bytes as f64 / self.heads.len() as f64).round()
    }

    /// Appends the next so many lines.
    pub(super) fn append(&mut self, count: u64, body: &mut Vec<u8>) {
        for _ in 0..count {
            let at = (self.next % self.heads.len() as u64) as usize;
            // Backwards: no point lies in the future.
            let pass = i64::try_from(self.next / self.heads.len() as u64).unwrap_or_default();
            self.next += 1;
            body.extend_from_slice(&self.heads[at]);
            let time_ns = self.times_ns[at] - pass * self.span_ns;
            // Writing to memory does not fail.
            let _ = writeln!(body, "{time_ns}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_lines_are_of_the_same_point() {
        let mut lines = Lines::of_house(20, "bare").unwrap();
        let mut body = Vec::new();
        let count = 2 * EVENTS + 10;
        lines.append(count, &mut body);
        let text = String::from_utf8(body).unwrap();
        let points: HashSet<(&str, &str)> = text
            .lines()
            .map(|line| {
                assert!(line.starts_with("home_assistant_events,"), "{line}");
                assert!(line.contains(",instance=bare"), "{line}");
                (
                    line.split(' ').next().unwrap(),
                    line.rsplit(' ').next().unwrap(),
                )
            })
            .collect();
        assert_eq!(points.len() as u64, count);
    }
}
