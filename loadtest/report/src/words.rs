//! The report as a table for people.

use std::fmt;

use crate::latency::LatencyMs;
use crate::process::Exit;
use crate::report::{Fault, Report, Verdict};
use crate::table;

/// Of more processes only some are named.
const EXITS_SHOWN: usize = 12;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.cases.is_empty() {
            return f.write_str(&table::cases(self));
        }
        let mut row = |name: &str, value: String| writeln!(f, "{name:<16} {value}");
        let verdict = if self.verdict == Verdict::Pass {
            "pass"
        } else {
            "FAIL"
        };
        let workers = if self.workers > 0 {
            format!(", {} workers", self.workers)
        } else {
            String::new()
        };
        if let Some(case) = &self.case {
            row("case", case.clone())?;
        }
        row(
            "scenario",
            format!(
                "{}, mode {}{workers}, sink {}",
                self.scenario, self.mode, self.sink
            ),
        )?;
        row("verdict", verdict.to_owned())?;
        for reason in &self.reasons {
            row("", format!("- {reason}"))?;
        }
        row(
            "events",
            format!(
                "{} sent in {:.1} s ({:.0}/s of {:.0}/s), {} stored, drained in {:.2} s",
                self.events_sent,
                self.seconds,
                self.events_per_s,
                self.rate,
                number(self.events_stored),
                self.drain_s,
            ),
        )?;
        row(
            "audit",
            format!(
                "missing {}, duplicates {}, unexplained {}, uncertain {}, dead letters {}, \
                 redelivered {} (settled ones {})",
                number(self.missing),
                number(self.duplicates),
                number(self.unexplained),
                number(self.uncertain),
                number(self.dead_lettered),
                number(self.redelivered),
                number(self.redelivered_settled),
            ),
        )?;
        if let Some(LatencyMs { p50, p95, p99, max }) = self.latency_ms {
            row(
                "latency ms",
                format!("p50 {p50:.1}, p95 {p95:.1}, p99 {p99:.1}, max {max:.1}"),
            )?;
        }
        for (role, usage) in self.used() {
            row(role.as_str(), usage.words(self))?;
        }
        if !self.starts.is_empty() {
            row("ready after", table::starts(&self.starts))?;
        }
        if let Some(depth) = self.queue_depth_max {
            row("queue", format!("{depth} batches at most"))?;
        }
        for fault in &self.faults {
            row("fault", fault.to_string())?;
        }
        if let Some(recovery_s) = self.recovery_s {
            row("recovery", format!("{recovery_s:.1} s"))?;
        }
        if let Some(drill) = &self.drill {
            row("drill", format!("{}: {}", drill.drill, drill.about))?;
            row(
                "spool",
                format!(
                    "{} events, {} bytes at most",
                    drill.spool_events_max, drill.spool_bytes_max
                ),
            )?;
            row("late", format!("{} events at most", drill.late_events_max))?;
            if drill.lost_reported > 0 {
                row("lost", format!("{} events reported", drill.lost_reported))?;
            }
            for (reason, count) in &drill.dead_letters {
                row("letters", format!("{count} {reason}"))?;
            }
            for (process, times) in &drill.revived {
                row("ended", format!("{process} {times} times by itself"))?;
            }
        }
        f.write_str(&table::extra(&self.extra))?;
        let mut row = |name: &str, value: String| writeln!(f, "{name:<16} {value}");
        if !self.exits.is_empty() {
            row("exits", words(&self.exits))?;
        }
        self.notes
            .iter()
            .try_for_each(|note| row("note", note.clone()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.1} s", self.fault, self.at_s)?;
        if let Some(until_s) = self.until_s {
            write!(f, ", over at {until_s:.1} s")?;
        }
        if let Some(subscribed_after_s) = self.subscribed_after_s {
            write!(f, ", subscribed again after {subscribed_after_s:.2} s")?;
        }
        write!(f, ", {} events not sent meanwhile", self.events_not_sent)?;
        if self.exits.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", words(&self.exits))
        }
    }
}

/// How processes ended; of many those that did not end well, and the slowest.
fn words(exits: &[Exit]) -> String {
    let shown = |exit: &&Exit| {
        let code = exit.exit_code;
        let code = code.map_or("killed".to_owned(), |code| format!("exit {code}"));
        format!("{} {code} in {:.2} s", exit.process, exit.seconds)
    };
    let joined = |exits: Vec<&Exit>| exits.iter().map(shown).collect::<Vec<_>>().join(", ");
    if exits.len() <= EXITS_SHOWN {
        return joined(exits.iter().collect());
    }
    let is_well = |exit: &&Exit| exit.exit_code == Some(0) && !exit.ended_by_itself;
    let (mut well, mut named): (Vec<_>, Vec<_>) = exits.iter().partition(is_well);
    well.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    named.extend(well.iter().take(3));
    format!(
        "{}; {} of {} with 0",
        joined(named),
        well.len(),
        exits.len()
    )
}

fn number(value: Option<u64>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_processes_those_that_failed_and_the_slowest_are_named() {
        let exit = |number: u32, code| Exit {
            process: format!("p-{number}"),
            exit_code: code,
            seconds: f64::from(number) / 100.0,
            ended_by_itself: number == 7,
        };
        let two = [exit(1, Some(0)), exit(2, None)];
        assert_eq!(words(&two), "p-1 exit 0 in 0.01 s, p-2 killed in 0.02 s");
        let many: Vec<Exit> = (1..=20).map(|number| exit(number, Some(0))).collect();
        let expected = "p-7 exit 0 in 0.07 s, p-20 exit 0 in 0.20 s, p-19 exit 0 in 0.19 s, \
                        p-18 exit 0 in 0.18 s; 19 of 20 with 0";
        assert_eq!(words(&many), expected);
    }
}
