//! Finds the lines that the database will not take, in few requests: a plan without IO.
//!
//! A part that was not taken whole is split: into the lines that the message seems to speak of and
//! the others, or into halves. Lines that were taken already are written again, which changes
//! nothing. A line is rejected, with the words it was refused with, when it was refused by itself,
//! or in a part whose lines share one conflict of types and of which the database counts every line
//! as dropped: a thousand such points then cost one request, not a thousand.

use ha_point::Lines;

use super::answer::Answer;
use super::hint::{all_dropped, suspects};
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
    lines: &'a Lines,
    /// Parts still to be written, the next one last.
    waiting: Vec<Part>,
    current: Option<Part>,
    splits: usize,
    rejected: Vec<RejectedPoint>,
}

impl<'a> Isolation<'a> {
    /// Begins with the answer to a write of all lines.
    pub(super) fn new(lines: &'a Lines, answer: Answer) -> Self {
        let whole = Part {
            lines: (0..lines.len()).collect(),
            known: Known::Nothing,
            split: 0,
        };
        let mut isolation = Self {
            lines,
            waiting: Vec::new(),
            current: Some(whole),
            splits: 0,
            rejected: Vec::new(),
        };
        isolation.answered(answer);
        isolation
    }

    /// The lines to write next; `None` when every line is settled.
    pub(super) fn next_part(&mut self) -> Option<&[usize]> {
        loop {
            let part = self.waiting.pop()?;
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
    pub(super) fn answered(&mut self, answer: Answer) {
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
            }
            Answer::Lines(words) => match part.lines.as_slice() {
                [line] => self.reject(*line, words.for_point()),
                all if all_dropped(&words, all, self.lines) => {
                    for line in part.lines {
                        self.reject(line, words.for_point());
                    }
                }
                _ if part.known == Known::Suspected => {
                    self.push_split([(part.lines, Known::MostlyBad)]);
                }
                _ => match suspects(&words, &part.lines, self.lines) {
                    Some(found) => {
                        let is_other = |line: &usize| found.lines.binary_search(line).is_err();
                        let others: Vec<_> = part.lines.into_iter().filter(is_other).collect();
                        let known = match found.mostly_bad {
                            true if found.one_conflict => Known::Suspected,
                            true => Known::MostlyBad,
                            false => Known::Nothing,
                        };
                        self.push_split([(found.lines, known), (others, Known::Nothing)]);
                    }
                    None => self.halve(part.lines, true),
                },
            },
            Answer::TooLarge(words) => match part.lines.as_slice() {
                [line] => {
                    let bytes = self.lines.slice(*line, line + 1).len();
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

    /// What became of the batch, once no part is left.
    pub(super) fn into_outcome(mut self) -> WriteOutcome {
        if self.rejected.is_empty() {
            return WriteOutcome::Written;
        }
        self.rejected.sort_unstable_by_key(|point| point.index);
        WriteOutcome::Rejected(self.rejected)
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
