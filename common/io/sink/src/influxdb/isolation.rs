//! Finds the lines that the database will not take, in few requests: a plan without IO.
//!
//! A part that was not taken whole is split: into the lines that the message seems to speak of and
//! the others, or into halves. Lines that were taken already are written again, which changes
//! nothing. A line is rejected, with the words it was refused with, when it was refused by itself,
//! or in a part whose lines share one conflict of types and of which the database counts every line
//! as dropped: a thousand such points then cost one request, not a thousand.
//!
//! A line that was refused for an attribute is not rejected but written again without it. What it was
//! refused for goes into the memory as soon as the rest is stored, and is left out of the lines that
//! still wait.

use std::collections::HashSet;
use std::time::Instant;

use super::answer::{Answer, Words};
use super::attributes::LeftOut;
use super::batch::{Batch, Cause};
use super::hint::{all_dropped, suspects};
use super::refusals::Refusals;
use crate::{RejectedPoint, WriteOutcome};

/// What is known of a part before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// At least one line is bad: writing it whole would tell nothing new.
    HoldsBad,
    /// Most lines are bad, by the message: written together once, to see whether all are.
    Suspected,
    /// Most lines are bad, but not all: each is written by itself.
    MostlyBad,
}

#[derive(Debug)]
struct Part {
    lines: Vec<usize>,
    known: Known,
    /// Which split it came of. If one of two is stored whole, the other holds the bad line.
    split: usize,
}

/// The state of one isolation.
#[derive(Debug)]
pub(super) struct Isolation<'a> {
    batch: Batch<'a>,
    /// Parts still to be written, the next one last.
    waiting: Vec<Part>,
    current: Option<Part>,
    splits: usize,
    stored: Vec<usize>,
    rejected: Vec<RejectedPoint>,
}

impl<'a> Isolation<'a> {
    /// Begins with the answer to a write of all lines.
    pub(super) fn new(
        batch: Batch<'a>,
        answer: Answer,
        refusals: &mut Refusals,
        now: Instant,
    ) -> Self {
        let whole = Part {
            lines: (0..batch.len()).collect(),
            known: Known::Nothing,
            split: 0,
        };
        let mut isolation = Self {
            batch,
            waiting: Vec::new(),
            current: Some(whole),
            splits: 0,
            stored: Vec::new(),
            rejected: Vec::new(),
        };
        isolation.answered(answer, refusals, now);
        isolation
    }

    /// What to write next; `None` when every line is settled.
    pub(super) fn next_body(&mut self, refusals: &Refusals) -> Option<Vec<u8>> {
        let part = self.next_part(refusals)?.to_vec();
        Some(self.batch.body(part.into_iter()))
    }

    /// The lines to write next; `None` when every line is settled.
    pub(super) fn next_part(&mut self, refusals: &Refusals) -> Option<&[usize]> {
        loop {
            let mut part = self.waiting.pop()?;
            if !refusals.is_empty() {
                let mut is_changed = false;
                for line in &part.lines {
                    is_changed |= self.batch.leave_out_known(*line, refusals);
                }
                if is_changed {
                    part.known = Known::Nothing;
                }
            }
            match part.known {
                Known::MostlyBad => {
                    // One split each: what becomes of one says nothing of the next.
                    for line in part.lines.into_iter().rev() {
                        self.push_split([(vec![line], Known::Nothing)]);
                    }
                }
                Known::HoldsBad if part.lines.len() > 1 => self.halve(part.lines, true),
                _ => return self.current.insert(part).lines.as_slice().into(),
            }
        }
    }

    /// Takes the answer to the write of the last [`next_part`](Self::next_part).
    pub(super) fn answered(&mut self, answer: Answer, refusals: &mut Refusals, now: Instant) {
        let Some(part) = self.current.take() else {
            return;
        };
        match answer {
            Answer::Stored => {
                if let Some(other) = self.waiting.last_mut()
                    && other.split == part.split
                    && other.known == Known::Nothing
                {
                    other.known = Known::HoldsBad;
                }
                self.learn(part.lines, refusals, now);
            }
            Answer::Lines(words) => self.refused(part, &words, refusals, now),
            Answer::TooLarge(words) => match part.lines.as_slice() {
                [line] => {
                    let bytes = self.batch.line(*line).len();
                    let error = format!(
                        "too large for the database ({bytes} bytes): {}",
                        words.for_point()
                    );
                    self.reject(*line, error);
                }
                _ => self.halve(part.lines, false),
            },
            // The caller ends the isolation on these: nothing may be assumed stored.
            Answer::Unavailable { .. } | Answer::Refused { .. } => {}
        }
    }

    /// Lines of a part that was not taken whole.
    fn refused(&mut self, part: Part, words: &Words, refusals: &mut Refusals, now: Instant) {
        let cause = Cause::of(words);
        if cause == Some(Cause::Columns) {
            let lines = part.lines.iter();
            refusals.refused_write(lines.filter_map(|line| self.batch.parts(*line)));
            if let [line] = part.lines.as_slice()
                && self.batch.may_leave_out(*line, &Cause::Columns)
                && let Some(parts) = self.batch.parts(*line)
                && refusals.found_full(&parts, now)
            {
                self.batch.tell_stored(&self.stored, refusals);
            }
        }
        match part.lines.as_slice() {
            [_] => self.reduce_or_reject(part.lines, cause.as_ref(), words, refusals),
            all if all_dropped(words, all, &self.batch) => {
                self.reduce_or_reject(part.lines, cause.as_ref(), words, refusals);
            }
            [first, rest @ ..] if part.known == Known::Suspected => {
                let first_alone = cause.as_ref().is_some_and(|cause| {
                    // On trial: what is found out of the first holds for the rest, most likely.
                    self.batch.may_leave_out(*first, cause)
                });
                if first_alone {
                    self.push_split([(rest.to_vec(), Known::Nothing)]);
                    self.push_split([(vec![*first], Known::Nothing)]);
                } else {
                    self.push_split([(part.lines, Known::MostlyBad)]);
                }
            }
            _ => {
                let suspects = suspects(words, &part.lines, &self.batch);
                let (found, known) = match suspects {
                    Some(found) => {
                        let known = match found.mostly_bad {
                            true if found.one_conflict => Known::Suspected,
                            true => Known::MostlyBad,
                            false => Known::Nothing,
                        };
                        (found.lines, known)
                    }
                    None if cause == Some(Cause::Columns) => {
                        let is_suspect = |line: &usize| {
                            let parts = self.batch.parts(*line);
                            parts.is_some_and(|parts| refusals.is_suspect(&parts))
                        };
                        let found = part.lines.iter().copied().filter(is_suspect);
                        (found.collect(), Known::Nothing)
                    }
                    None => (Vec::new(), Known::Nothing),
                };
                let tells_nothing = found.len() == part.lines.len() && known == Known::Nothing;
                if found.is_empty() || tells_nothing {
                    self.halve(part.lines, true);
                    return;
                }
                let is_other = |line: &usize| found.binary_search(line).is_err();
                let others: Vec<_> = part.lines.into_iter().filter(is_other).collect();
                self.push_split([(found, known), (others, Known::Nothing)]);
            }
        }
    }

    /// Lines that were refused, each for this cause: without what they were refused for they are
    /// written again, together.
    fn reduce_or_reject(
        &mut self,
        lines: Vec<usize>,
        cause: Option<&Cause<'_>>,
        words: &Words,
        refusals: &Refusals,
    ) {
        let mut again = Vec::new();
        for line in lines {
            let is_reduced =
                cause.is_some_and(|cause| self.batch.leave_out_refused(line, cause, refusals));
            if is_reduced {
                again.push(line);
            } else {
                self.reject(line, words.for_point());
            }
        }
        self.push_split([(again, Known::Nothing)]);
    }

    /// Lines that are stored: what was left out of them is what they were refused for, and what is in
    /// them the database takes.
    fn learn(&mut self, lines: Vec<usize>, refusals: &mut Refusals, now: Instant) {
        for line in &lines {
            if let Some((parts, reduction)) = self.batch.proven(*line) {
                refusals.refused(&parts, reduction, now);
            }
        }
        self.batch.tell_stored(&lines, refusals);
        self.stored.extend(lines);
    }

    /// What became of the batch, once no part is left.
    pub(super) fn into_outcome(mut self) -> (WriteOutcome, LeftOut) {
        let rejected: HashSet<_> = self.rejected.iter().map(|point| point.index).collect();
        let left_out = self.batch.left_out(&rejected);
        if self.rejected.is_empty() {
            return (WriteOutcome::Written, left_out);
        }
        self.rejected.sort_unstable_by_key(|point| point.index);
        (WriteOutcome::Rejected(self.rejected), left_out)
    }

    fn reject(&mut self, index: usize, error: String) {
        self.rejected.push(RejectedPoint { index, error });
    }

    fn halve(&mut self, mut lines: Vec<usize>, holds_bad: bool) {
        let right = lines.split_off(lines.len() / 2);
        if holds_bad {
            self.push_split([(right, Known::Nothing), (lines, Known::Nothing)]);
        } else {
            // Too large says nothing about the lines: no conclusion from one half to the other.
            self.push_split([(right, Known::Nothing)]);
            self.push_split([(lines, Known::Nothing)]);
        }
    }

    fn push_split<const N: usize>(&mut self, parts: [(Vec<usize>, Known); N]) {
        self.splits += 1;
        let split = self.splits;
        let parts = parts.into_iter().filter(|(lines, _)| !lines.is_empty());
        self.waiting.extend(parts.map(|(lines, known)| Part {
            lines,
            known,
            split,
        }));
    }
}

#[cfg(test)]
mod tests;
