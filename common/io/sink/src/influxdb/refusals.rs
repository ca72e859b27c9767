//! What the database is known not to take, so that it is left out before it is refused: tables that
//! take no more columns, and fields that have another type. Without IO; time is an argument.
//!
//! Of a full table the columns that were seen stored are known, those of the last writes before it was
//! full, too: these are kept, and only looked at then. A name that is not among them is
//! tried, as long as few writes were refused for it, and left out after that. Everything is forgotten
//! after a while, so that a limit that was raised, or a field that was put right, is noticed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ha_point::{LineField, LineParts};

use super::attributes::{AttributeFields, Known, LeftOutReason, NAMING_FIELD, Reduction};
use super::conflict::type_of;

/// After this time what was refused is tried again.
pub(super) const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(300);
/// Writes that a full table may refuse until then; after that only known columns are written.
pub(super) const REFUSED_WRITES_MAX: u32 = 16;
/// Refused lines that hold a name, without it being the only one, before it is taken for the cause.
const DOUBTS_MAX: u8 = 3;
/// Tables remembered. A further one costs a refused write for every batch.
const TABLES_MAX: usize = 64;
/// Names remembered for each table and purpose.
const NAMES_MAX: usize = 2_048;
/// Longer names are not remembered.
const NAME_BYTES_MAX: usize = 128;

/// The last bodies that were stored are kept up to this size.
const RECENT_BYTES_MAX: usize = 2 << 20;

/// InfluxDB's word for a value's type.
type Kind = &'static str;

/// The memory of one database.
#[derive(Debug)]
pub(super) struct Refusals {
    attributes: AttributeFields,
    /// By measurement, escaped.
    tables: HashMap<Vec<u8>, Table>,
    /// Bodies that were stored, the latest last.
    recent: VecDeque<Arc<Vec<u8>>>,
    recent_bytes: usize,
    news: Vec<News>,
}

/// Something that was not known before, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// The measurement's table takes no more columns.
    FullTable { measurement: String },
    /// The measurement has the field with another type.
    OtherType { measurement: String, field: String },
}

#[derive(Debug, Default)]
struct Table {
    full: Option<Full>,
    /// Names and the types that were refused, and until when that is remembered.
    conflicts: HashMap<Vec<u8>, (Kind, Instant)>,
}

/// What is known of a table that takes no more columns.
#[derive(Debug)]
struct Full {
    tried_again_at: Instant,
    refused_writes: u32,
    /// Names that were stored.
    columns: HashSet<Vec<u8>>,
    /// How many refused lines held a name.
    doubts: HashMap<Vec<u8>, u8>,
}

impl Refusals {
    pub(super) fn new(attributes: AttributeFields) -> Self {
        Self {
            attributes,
            tables: HashMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            news: Vec::new(),
        }
    }

    /// Nothing is known; lines need no look.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// A body was stored as it is.
    pub(super) fn keep(&mut self, body: &Arc<Vec<u8>>) {
        // What it takes, with the list's own share of a small one.
        let bytes = |body: &Arc<Vec<u8>>| body.capacity() + 64;
        if bytes(body) > RECENT_BYTES_MAX {
            return;
        }
        self.recent_bytes += bytes(body);
        self.recent.push_back(Arc::clone(body));
        while self.recent_bytes > RECENT_BYTES_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_bytes -= bytes(&oldest);
        }
    }

    /// A table takes no more columns.
    pub(super) fn has_full_table(&self) -> bool {
        self.tables.values().any(|table| table.full.is_some())
    }

    /// Forgets what is due to be tried again. A table in which nothing was refused since the last
    /// time is full no longer.
    pub(super) fn forget(&mut self, now: Instant) {
        self.tables.retain(|_, table| {
            table.conflicts.retain(|_, (_, until)| *until > now);
            table.full = table.full.take().and_then(|full| full.kept(now));
            table.full.is_some() || !table.conflicts.is_empty()
        });
    }

    /// What a line is to be written without, besides what is left out of it already.
    pub(super) fn known<'a>(&self, line: &LineParts<'a>) -> Vec<(&'a [u8], LeftOutReason)> {
        let Some(table) = self.tables.get(line.measurement()) else {
            return Vec::new();
        };
        let refused = |field: &LineField<'a>| {
            self.attributes.attribute(field)?;
            Some((field.name, table.refuses(field)?))
        };
        line.fields.iter().filter_map(refused).collect()
    }

    /// Whether the line's table takes the field that names what was left out, as far as is known.
    pub(super) fn takes_naming_field(&self, line: &LineParts<'_>) -> bool {
        let naming = LineField {
            name: NAMING_FIELD,
            value: b"\"\"",
        };
        self.attributes.are_named_when_left_out()
            && self
                .tables
                .get(line.measurement())
                .is_none_or(|table| table.refuses(&naming).is_none())
    }

    /// Whether the line's table is full and this is no column of it, as far as is known.
    pub(super) fn is_no_column(&self, line: &LineParts<'_>, name: &[u8]) -> bool {
        let full = self.full(line.measurement());
        full.is_some_and(|full| !full.columns.contains(name))
    }

    /// Whether the line holds an attribute of which [`is_no_column`](Self::is_no_column) is true.
    pub(super) fn is_suspect(&self, line: &LineParts<'_>) -> bool {
        line.fields.iter().any(|field| {
            let is_ours = self.attributes.attribute(field).is_some() || field.name == NAMING_FIELD;
            is_ours && self.is_no_column(line, field.name)
        })
    }

    /// A write that held these lines was refused for its columns.
    pub(super) fn refused_write<'a>(&mut self, lines: impl Iterator<Item = LineParts<'a>>) {
        let mut counted = HashSet::new();
        for line in lines {
            let measurement = line.measurement();
            if self.is_suspect(&line)
                && counted.insert(measurement)
                && let Some(table) = self.tables.get_mut(measurement)
                && let Some(full) = &mut table.full
            {
                full.refused_writes += 1;
            }
        }
    }

    /// A line was stored: of a full table its fields are columns.
    pub(super) fn stored(&mut self, line: &LineParts<'_>) {
        let Some(table) = self.tables.get_mut(line.measurement()) else {
            return;
        };
        let Some(full) = &mut table.full else {
            return;
        };
        for field in &line.fields {
            let name = field.name;
            let is_ours = self.attributes.attribute(field).is_some() || name == NAMING_FIELD;
            if is_ours && !full.columns.contains(name) && has_room(full.columns.len(), name) {
                full.doubts.remove(name);
                full.columns.insert(name.to_vec());
            }
        }
    }

    /// A line by itself was refused for its columns. True if its table was not known to be full: then
    /// what was stored in it so far tells its columns.
    pub(super) fn found_full(&mut self, line: &LineParts<'_>, now: Instant) -> bool {
        let measurement = line.measurement();
        let Some(table) = self.table(measurement) else {
            return false;
        };
        if table.full.is_some() {
            return false;
        }
        table.full = Some(Full::new(now));
        self.news.push(News::FullTable {
            measurement: plain(measurement),
        });
        let recent = std::mem::take(&mut self.recent);
        for body in &recent {
            let mut rest = body.as_slice();
            while let Some((line, others)) = LineParts::first_of(rest) {
                rest = others;
                self.stored(&line);
            }
        }
        self.recent = recent;
        true
    }

    /// A line was refused, and stored when this was left out.
    pub(super) fn refused(&mut self, line: &LineParts<'_>, reduction: &Reduction, now: Instant) {
        let naming = reduction
            .naming_refused
            .map(|reason| (NAMING_FIELD, reason, Known::Named));
        let removed = reduction.removed.iter();
        let removed = removed.map(|(name, (reason, known))| (name.as_slice(), *reason, *known));
        let guesses = reduction.removed.values();
        let guesses = guesses
            .filter(|(_, known)| *known == Known::Guessed)
            .count();
        let measurement = line.measurement();
        for (name, reason, known) in removed.chain(naming) {
            match (reason, known) {
                (_, Known::Remembered) | (LeftOutReason::InvalidField, _) => {}
                (LeftOutReason::TypeConflict, Known::Guessed) => {}
                (LeftOutReason::TypeConflict, Known::Named) => {
                    let value = line.fields.iter().find(|field| field.name == name);
                    let kind = value.map_or("string", |field| type_of(field.value));
                    let until = now + TRIED_AGAIN_AFTER;
                    if let Some(table) = self.table(measurement)
                        && has_room(table.conflicts.len(), name)
                        && table
                            .conflicts
                            .insert(name.to_vec(), (kind, until))
                            .is_none()
                    {
                        self.news.push(News::OtherType {
                            measurement: plain(measurement),
                            field: plain(name),
                        });
                    }
                }
                (LeftOutReason::ColumnLimit, _) => {
                    let table = self.tables.get_mut(measurement);
                    let Some(full) = table.and_then(|table| table.full.as_mut()) else {
                        continue;
                    };
                    full.columns.remove(name);
                    let is_the_cause = known == Known::Named || guesses == 1;
                    full.doubt(name, if is_the_cause { DOUBTS_MAX } else { 1 });
                }
            }
        }
        self.tables
            .retain(|_, table| table.full.is_some() || !table.conflicts.is_empty());
    }

    /// What became known since this was last asked.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The table of this measurement; `None` if too many are remembered.
    fn table(&mut self, measurement: &[u8]) -> Option<&mut Table> {
        if self.tables.len() >= TABLES_MAX && !self.tables.contains_key(measurement) {
            return None;
        }
        Some(self.tables.entry(measurement.to_vec()).or_default())
    }

    fn full(&self, measurement: &[u8]) -> Option<&Full> {
        self.tables.get(measurement)?.full.as_ref()
    }
}

impl Table {
    fn refuses(&self, field: &LineField<'_>) -> Option<LeftOutReason> {
        if let Some((kind, _)) = self.conflicts.get(field.name)
            && *kind == type_of(field.value)
        {
            return Some(LeftOutReason::TypeConflict);
        }
        let full = self.full.as_ref()?;
        let is_column = full.columns.contains(field.name);
        let is_refused = || {
            full.refused_writes >= REFUSED_WRITES_MAX
                || full
                    .doubts
                    .get(field.name)
                    .is_some_and(|doubts| *doubts >= DOUBTS_MAX)
        };
        (!is_column && is_refused()).then_some(LeftOutReason::ColumnLimit)
    }
}

impl Full {
    fn new(now: Instant) -> Self {
        Self {
            tried_again_at: now + TRIED_AGAIN_AFTER,
            refused_writes: 0,
            columns: HashSet::new(),
            doubts: HashMap::new(),
        }
    }

    /// What is left of it at this time.
    fn kept(mut self, now: Instant) -> Option<Self> {
        if now < self.tried_again_at {
            return Some(self);
        }
        let was_refused = self.refused_writes > 0 || !self.doubts.is_empty();
        self.tried_again_at = now + TRIED_AGAIN_AFTER;
        self.refused_writes = 0;
        self.doubts.clear();
        was_refused.then_some(self)
    }

    fn doubt(&mut self, name: &[u8], doubts: u8) {
        if self.doubts.contains_key(name) || has_room(self.doubts.len(), name) {
            let doubted = self.doubts.entry(name.to_vec()).or_default();
            *doubted = doubted.saturating_add(doubts);
        }
    }
}

/// A name for the log.
fn plain(name: &[u8]) -> String {
    LineField { name, value: b"" }.plain_name().into_owned()
}

fn has_room(names: usize, name: &[u8]) -> bool {
    names < NAMES_MAX && name.len() <= NAME_BYTES_MAX
}

#[cfg(test)]
mod tests;
