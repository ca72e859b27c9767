//! The lines of one write as they are sent: without the attributes that the database does not take.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ha_point::{LineParts, Lines};

use super::answer::Words;
use super::attributes::{AttributeFields, Known, LeftOut, LeftOutReason, NAMING_FIELD, Reduction};
use super::conflict::{conflict, named_field};
use super::refusals::Refusals;

/// Attributes that are left out of a line one by one, each named by an answer; then all are.
const NAMED_MAX: usize = 4;

/// Lines, some of them reduced.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    lines: &'a Lines,
    attributes: AttributeFields,
    reduced: BTreeMap<usize, Reduced>,
}

#[derive(Debug)]
struct Reduced {
    reduction: Reduction,
    text: Vec<u8>,
}

/// What in a line was refused, as far as the answer tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cause<'a> {
    /// A field that needs a column more than the table may have.
    Columns,
    /// The field of this name.
    Field(&'a str, LeftOutReason),
    /// A field whose type is another.
    SomeType,
}

impl<'a> Cause<'a> {
    /// The cause, if it is one that an attribute can be.
    pub(super) fn of(words: &'a Words) -> Option<Self> {
        let text = words.text.as_str();
        if let Some(conflict) = conflict(text) {
            return Some(Self::Field(conflict.field, LeftOutReason::TypeConflict));
        }
        if let Some((field, _)) = named_field(text) {
            return Some(Self::Field(field, LeftOutReason::InvalidField));
        }
        // A message that quotes a line may hold any words.
        let has = |words: &str| text.contains(words);
        if has("unable to parse") {
            None
        } else if has("columns") && has("limit") {
            Some(Self::Columns)
        } else {
            has("type conflict").then_some(Self::SomeType)
        }
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(lines: &'a Lines, attributes: AttributeFields) -> Self {
        Self {
            lines,
            attributes,
            reduced: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// A line as it is sent.
    pub(super) fn line(&self, line: usize) -> &[u8] {
        match self.reduced.get(&line) {
            Some(reduced) => &reduced.text,
            None => self.lines.slice(line, line + 1),
        }
    }

    /// The fields of a line as it is sent.
    pub(super) fn parts(&self, line: usize) -> Option<LineParts<'_>> {
        LineParts::of(self.line(line))
    }

    /// All lines as they are sent.
    pub(super) fn whole(&self) -> Arc<Vec<u8>> {
        if self.reduced.is_empty() {
            return Arc::clone(self.lines.bytes());
        }
        Arc::new(self.body(0..self.len()))
    }

    /// Some lines as they are sent.
    pub(super) fn body(&self, part: impl Iterator<Item = usize>) -> Vec<u8> {
        part.map(|line| self.line(line))
            .collect::<Vec<_>>()
            .concat()
    }

    /// Leaves out of a line what the database is known not to take. True if that changed it.
    pub(super) fn leave_out_known(&mut self, line: usize, refusals: &Refusals) -> bool {
        let Some(parts) = self.parts(line) else {
            return false;
        };
        let known = refusals.known(&parts);
        if known.is_empty() {
            return false;
        }
        let mut reduction = self.reduction(line, &parts, refusals);
        reduction.names_them &= refusals.takes_naming_field(&parts);
        let known = known.into_iter();
        let known = known.map(|(name, reason)| (name.to_vec(), (reason, Known::Remembered)));
        reduction.removed.extend(known);
        self.reduce(line, reduction)
    }

    /// Leaves out of a line what it was refused for. False if that is nothing that may be left out.
    pub(super) fn leave_out_refused(
        &mut self,
        line: usize,
        cause: &Cause<'_>,
        refusals: &Refusals,
    ) -> bool {
        let Some(parts) = self.parts(line) else {
            return false;
        };
        let mut reduction = self.reduction(line, &parts, refusals);
        let attributes: Vec<_> = parts
            .fields
            .iter()
            .filter(|field| self.attributes.attribute(field).is_some())
            .collect();
        let guess = |reason| move |name: &[u8]| (name.to_vec(), (reason, Known::Guessed));
        match cause {
            Cause::Field(name, reason) => {
                if reduction.names_them && name.as_bytes() == NAMING_FIELD {
                    reduction.names_them = false;
                    reduction.naming_refused = Some(*reason);
                    return self.reduce(line, reduction);
                }
                let is_named =
                    |plain: &str| without_backslashes(plain) == without_backslashes(name);
                let Some(named) = attributes
                    .iter()
                    .find(|field| is_named(&field.plain_name()))
                else {
                    return false;
                };
                let named = (named.name.to_vec(), (*reason, Known::Named));
                let removed = reduction.removed.values();
                let count = removed.filter(|(_, known)| *known == Known::Named).count();
                if count >= NAMED_MAX {
                    let all = attributes
                        .iter()
                        .map(|field| field.name)
                        .map(guess(*reason));
                    reduction.removed.extend(all);
                }
                reduction.removed.extend([named]);
            }
            Cause::Columns | Cause::SomeType => {
                let (reason, is_columns) = match cause {
                    Cause::Columns => (LeftOutReason::ColumnLimit, true),
                    _ => (LeftOutReason::TypeConflict, false),
                };
                let names = attributes.iter().map(|field| field.name);
                let mut chosen: Vec<_> = names.clone().collect();
                if is_columns && refusals.is_suspect(&parts) {
                    // Known columns stay, unless it turns out that they are none.
                    chosen.retain(|name| refusals.is_no_column(&parts, name));
                }
                if chosen.is_empty() && reduction.names_them {
                    reduction.names_them = false;
                    reduction.naming_refused = Some(reason);
                    return self.reduce(line, reduction);
                }
                if chosen.is_empty() {
                    chosen = names.collect();
                }
                if chosen.is_empty() {
                    return false;
                }
                reduction
                    .removed
                    .extend(chosen.into_iter().map(guess(reason)));
            }
        }
        self.reduce(line, reduction)
    }

    /// Whether the cause is an attribute of this line.
    pub(super) fn may_leave_out(&self, line: usize, cause: &Cause<'_>) -> bool {
        let is_cause = |name: &str| match cause {
            Cause::Field(field, _) => without_backslashes(name) == without_backslashes(field),
            Cause::Columns | Cause::SomeType => true,
        };
        let Some(parts) = self.parts(line) else {
            return false;
        };
        let mut fields = parts.fields.iter();
        fields.any(|field| {
            self.attributes.attribute(field).is_some() && is_cause(&field.plain_name())
        })
    }

    /// Tells the memory that these lines are stored.
    pub(super) fn tell_stored(&self, lines: &[usize], refusals: &mut Refusals) {
        if !refusals.has_full_table() {
            return;
        }
        for line in lines {
            if let Some(parts) = self.parts(*line) {
                refusals.stored(&parts);
            }
        }
    }

    /// What this line was refused for, once it is stored without: for the memory. `None` if nothing
    /// but what was known is left out of it.
    pub(super) fn proven(&self, line: usize) -> Option<(LineParts<'_>, &Reduction)> {
        let reduction = &self.reduced.get(&line)?.reduction;
        let mut removed = reduction.removed.values();
        let is_new = removed.any(|(_, known)| *known != Known::Remembered)
            || reduction.naming_refused.is_some();
        // The line as it came: with the values that were refused.
        let original = LineParts::of(self.lines.slice(line, line + 1))?;
        is_new.then_some((original, reduction))
    }

    /// Attributes left out of all lines but these.
    pub(super) fn left_out(&self, rejected: &HashSet<usize>) -> LeftOut {
        let mut left_out = LeftOut::default();
        let stored = self.reduced.iter();
        let stored = stored.filter(|(line, _)| !rejected.contains(line));
        for (reason, _) in stored.flat_map(|(_, reduced)| reduced.reduction.removed.values()) {
            left_out.add(*reason);
        }
        left_out
    }

    fn reduction(&self, line: usize, parts: &LineParts<'_>, refusals: &Refusals) -> Reduction {
        match self.reduced.get(&line) {
            Some(reduced) => reduced.reduction.clone(),
            None => Reduction {
                removed: BTreeMap::new(),
                names_them: refusals.takes_naming_field(parts),
                naming_refused: None,
            },
        }
    }

    fn reduce(&mut self, line: usize, reduction: Reduction) -> bool {
        let original = self.lines.slice(line, line + 1);
        let Some(text) = self.attributes.reduced(original, &reduction) else {
            return false;
        };
        self.reduced.insert(line, Reduced { reduction, text });
        true
    }
}

/// Of several backslashes in a name databases keep one or all.
fn without_backslashes(name: &str) -> Cow<'_, str> {
    match name.contains('\\') {
        true => name.replace('\\', "").into(),
        false => name.into(),
    }
}

#[cfg(test)]
mod tests;
