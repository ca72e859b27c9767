//! What the audit says.

use super::database::Window;
use super::history::Compared;
use super::runs::{GapReport, RunReport, Why};
use crate::commands::moment::{to_microsecond, to_second};
use crate::commands::terminal::count_of;
use serde::Serialize;
use std::io::{self, Write};

/// Gaps of one run that are printed; the report in JSON has all.
const GAPS_PRINTED_MAX: usize = 50;

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    since: String,
    until: String,
    #[serde(skip)]
    window: Window,
    #[serde(rename = "epochs")]
    runs: Vec<RunReport>,
    stored: u64,
    dead_letters: u64,
    backfilled: u64,
    lost: u64,
    unexplained: u64,
    /// Whether dead letters were read at all.
    #[serde(rename = "letters_read")]
    dead_letters_read: bool,
    /// Batches that wait in the queue or in the spool.
    #[serde(rename = "waiting_frames")]
    waiting_batches: Option<u64>,
    pub history: Option<Compared>,
}

impl Report {
    pub fn new(
        window: Window,
        runs: Vec<RunReport>,
        dead_letters_read: bool,
        waiting_batches: Option<u64>,
    ) -> Self {
        let missing = |why: Why| {
            let gaps = runs.iter().flat_map(|run_id| &run_id.gaps);
            gaps.filter(|gap| gap.why == why).map(|gap| gap.count).sum()
        };
        Self {
            since: to_microsecond(window.since_ns),
            until: to_microsecond(window.until_ns),
            window,
            stored: runs.iter().map(|run_id| run_id.stored).sum(),
            dead_letters: runs.iter().map(|run_id| run_id.dead_letters).sum(),
            backfilled: missing(Why::Backfilled),
            lost: missing(Why::Lost),
            unexplained: missing(Why::Unexplained),
            dead_letters_read,
            waiting_batches,
            history: None,
            runs,
        }
    }

    /// Nothing is missing without an explanation.
    pub fn is_complete(&self) -> bool {
        self.unexplained == 0
            && self
                .history
                .as_ref()
                .is_none_or(|history| history.missing + history.different == 0)
    }

    /// When the youngest event next to an unexplained gap happened.
    pub fn youngest_unexplained_ns(&self) -> i64 {
        let gaps = self.runs.iter().flat_map(|run_id| &run_id.gaps);
        let unexplained = gaps.filter(|gap| gap.why == Why::Unexplained);
        let neighbours = unexplained.flat_map(|gap| [&gap.before, &gap.after]);
        neighbours
            .flatten()
            .map(|neighbour| neighbour.time_ns)
            .max()
            .unwrap_or(i64::MIN)
    }

    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Window { since_ns, until_ns } = self.window;
        writeln!(
            out,
            "audit from {} to {} UTC",
            to_second(since_ns),
            to_second(until_ns)
        )?;
        for run_id in &self.runs {
            print_run_id(run_id, out)?;
        }
        if self.runs.is_empty() {
            writeln!(
                out,
                "no numbered events in this window: nothing to audit (check --since, --instance \
                 and the database)"
            )?;
        }
        if !self.dead_letters_read {
            writeln!(
                out,
                "dead letters were not read: set AMQP_URL or give --spool-path"
            )?;
        }
        if let Some(batches @ 1..) = self.waiting_batches {
            writeln!(
                out,
                "{} still waiting to be stored",
                count_of(batches, "frame")
            )?;
        }
        if let Some(history) = &self.history {
            history.print(out)?;
        }
        if self.is_complete() {
            return writeln!(
                out,
                "complete: {} stored, {}, {} backfilled, {} lost and counted, none unexplained",
                count_of(self.stored, "event"),
                count_of(self.dead_letters, "dead letter"),
                self.backfilled,
                self.lost,
            );
        }
        let states = self
            .history
            .as_ref()
            .map_or(0, |history| history.missing + history.different);
        writeln!(
            out,
            "INCOMPLETE: {} missing without an explanation",
            count_of(self.unexplained, "event")
        )?;
        if states > 0 {
            writeln!(
                out,
                "INCOMPLETE: {} of Home Assistant's history",
                count_of(states, "state")
            )?;
        }
        Ok(())
    }
}

fn print_run_id(run_id: &RunReport, out: &mut impl Write) -> io::Result<()> {
    let missing: u64 = run_id.gaps.iter().map(|gap| gap.count).sum();
    let began_ns = i64::try_from(run_id.run_id)
        .unwrap_or_default()
        .saturating_mul(1_000_000);
    writeln!(
        out,
        "{}, run of {} (run {}): numbers {} to {}, {} stored, {}, {missing} missing",
        run_id.instance,
        to_second(began_ns),
        run_id.run_id,
        run_id.first,
        run_id.last,
        run_id.stored,
        count_of(run_id.dead_letters, "dead letter"),
    )?;
    for gap in run_id.gaps.iter().take(GAPS_PRINTED_MAX) {
        print_gap(gap, out)?;
    }
    if let Some(more @ 1..) = run_id.gaps.len().checked_sub(GAPS_PRINTED_MAX) {
        writeln!(
            out,
            "  and {} (--json has them)",
            count_of(more as u64, "further gap")
        )?;
    }
    Ok(())
}

fn print_gap(gap: &GapReport, out: &mut impl Write) -> io::Result<()> {
    let numbers = if gap.count == 1 {
        gap.first.to_string()
    } else {
        format!(
            "{} to {} ({})",
            gap.first,
            gap.last,
            count_of(gap.count, "event")
        )
    };
    let why = match gap.why {
        Why::Backfilled => "backfilled (the producer was killed, and gap fill fetched the states)",
        Why::Lost => "lost (the producer counted it)",
        Why::Unexplained => "UNEXPLAINED",
    };
    write!(out, "  {numbers}: {why};")?;
    match &gap.before {
        Some(before) => write!(out, " behind {} at {}", before.sequence, before.time)?,
        None => write!(out, " at the beginning")?,
    }
    match &gap.after {
        Some(after) => writeln!(out, ", before {} at {}", after.sequence, after.time),
        None => writeln!(out, ", at the end"),
    }
}
