//! Which fields of a line are attributes: a line that the database refuses for one of them is
//! written without it.

use std::collections::BTreeMap;

use ha_point::{LineField, LineParts};

/// The field that names the attributes left out of its point, as a JSON list.
pub(super) const NAMING_FIELD: &[u8] = b"attributes_left_out";

/// How the fields of attributes are told from the others, by the schema of the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttributeFields {
    /// By the prefixes `attr_` and `text_`. A point that attributes were left out of names them in
    /// its field `attributes_left_out`.
    #[default]
    Prefixed,
    /// Every field but `value` and a text in `state`: the points of Home Assistant's own
    /// integration. Nothing is added to them.
    Unprefixed,
}

/// Why an attribute was left out of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOutReason {
    /// The table takes no more columns.
    ColumnLimit,
    /// The database has another type for the field.
    TypeConflict,
    /// The database does not take the field as such: its name, or the length of its value.
    InvalidField,
}

impl LeftOutReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::ColumnLimit, Self::TypeConflict, Self::InvalidField];

    /// Its word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ColumnLimit => "column_limit",
            Self::TypeConflict => "type_conflict",
            Self::InvalidField => "invalid_field",
        }
    }
}

/// Attributes left out of stored points, counted by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut([u64; LeftOutReason::ALL.len()]);

impl LeftOut {
    /// How many for this reason.
    #[must_use]
    pub fn count(&self, reason: LeftOutReason) -> u64 {
        self.0[reason as usize]
    }

    /// Counts one more.
    pub(super) fn add(&mut self, reason: LeftOutReason) {
        self.0[reason as usize] += 1;
    }

    /// Counts what the other one counted.
    pub(super) fn add_all(&mut self, other: Self) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine += others;
        }
    }
}

/// How it is known that the database does not take an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It was refused before.
    Remembered,
    /// The answer names it.
    Named,
    /// The answer names none; it is one of those that may be meant.
    Guessed,
}

/// What is left out of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reduction {
    /// The names of fields, as they stand in the line.
    pub(super) removed: BTreeMap<Vec<u8>, (LeftOutReason, Known)>,
    /// The point names what was left out.
    pub(super) names_them: bool,
    /// The database did not take the field that would name it.
    pub(super) naming_refused: Option<LeftOutReason>,
}

impl AttributeFields {
    /// Whether points have a field that names what was left out.
    pub(super) fn are_named_when_left_out(self) -> bool {
        self == Self::Prefixed
    }

    /// The attribute's name, escaped, if the field is one.
    pub(super) fn attribute<'a>(self, field: &LineField<'a>) -> Option<&'a [u8]> {
        let name = field.name;
        match self {
            Self::Prefixed => name
                .strip_prefix(b"attr_")
                .or_else(|| name.strip_prefix(b"text_")),
            Self::Unprefixed => match name {
                b"value" => None,
                b"state" if field.value.starts_with(b"\"") => None,
                _ => Some(name),
            },
        }
    }

    /// The line without what is left out; `None` if no other field would be left.
    pub(super) fn reduced(self, line: &[u8], reduction: &Reduction) -> Option<Vec<u8>> {
        let mut parts = LineParts::of(line)?;
        let (removed, kept): (Vec<_>, Vec<_>) = parts
            .fields
            .iter()
            .partition(|field| reduction.removed.contains_key(field.name));
        parts.fields = kept;
        if parts.fields.is_empty() {
            return None;
        }
        let names: serde_json::Value = removed
            .into_iter()
            .filter_map(|field: LineField<'_>| {
                let name = self.attribute(&field)?;
                Some(LineField { name, ..field }.plain_name().into_owned())
            })
            .collect();
        // As the encoder writes a text.
        let names = names.to_string().replace('\\', "\\\\").replace('"', "\\\"");
        let names = format!("\"{names}\"");
        if reduction.names_them {
            let at = parts
                .fields
                .partition_point(|field| field.name < NAMING_FIELD);
            let field = LineField {
                name: NAMING_FIELD,
                value: names.as_bytes(),
            };
            parts.fields.insert(at, field);
        }
        let mut out = Vec::with_capacity(line.len() + names.len());
        parts.write(&mut out);
        Some(out)
    }
}
