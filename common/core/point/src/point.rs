//! One point of a time series.

use std::borrow::Cow;
use std::cmp::Ordering;

/// A field's value. Its type is a function of the field's name, so that no write conflicts with
/// an earlier one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A finite number; NaN and infinities are left out when the point is encoded.
    Float(f64),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// Any text.
    Text(Cow<'a, str>),
}

/// What stands in front of a field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Nothing: the name is one of ours, of dead letters and underscores, and never begins with a prefix.
    Own,
    /// Nothing: the name is from outside.
    Foreign,
    /// `attr_`
    Attribute,
    /// `text_`
    Text,
}

impl Prefix {
    /// The prefix itself.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own | Self::Foreign => "",
            Self::Attribute => "attr_",
            Self::Text => "text_",
        }
    }
}

/// A field's name in two parts, so that `attr_` + name needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldKey<'a> {
    /// What stands in front.
    pub prefix: Prefix,
    /// The rest of the name.
    pub name: Cow<'a, str>,
}

/// See [`Point::sort_fields`].
const FEW_FIELDS: usize = 24;

/// A measurement's values for one set of tags at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Point<'a> {
    /// The measurement (table).
    pub measurement: Cow<'a, str>,
    /// Tags; those with an empty value are not written.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Fields.
    pub fields: Vec<(FieldKey<'a>, Value<'a>)>,
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
}

impl<'a> FieldKey<'a> {
    /// The name as one text.
    #[must_use]
    pub fn joined(&self) -> String {
        format!("{}{}", self.prefix.as_str(), self.name)
    }

    /// The first bytes of the joined name as one number that orders as they do; the last byte of
    /// the number is free.
    fn head(&self) -> u128 {
        let behind = |prefix: &[u8; 5]| {
            let name = first_bytes(self.name.as_bytes());
            first_bytes(prefix) | (name >> (8 * prefix.len()))
        };
        let head = match self.prefix {
            Prefix::Own | Prefix::Foreign => first_bytes(self.name.as_bytes()),
            Prefix::Attribute => behind(b"attr_"),
            Prefix::Text => behind(b"text_"),
        };
        head & !0xff
    }

    /// Orders by the joined name.
    fn order(&self, other: &Self) -> Ordering {
        let bytes = |key: &Self| key.prefix.as_str().bytes();
        let (mine, others) = (bytes(self), bytes(other));
        mine.chain(self.name.bytes())
            .cmp(others.chain(other.name.bytes()))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.prefix.as_str() == other.prefix.as_str()
    }
}

/// The first sixteen bytes as a number that orders as they do, zeros behind the end.
fn first_bytes(bytes: &[u8]) -> u128 {
    if let Some(sixteen) = bytes.first_chunk::<16>() {
        return u128::from_be_bytes(*sixteen);
    }
    // Two reads that overlap: no loop, and no call.
    let joined = |first: u128, last: u128, width: usize| {
        let top = 128 - 8 * width;
        (first << top) | ((last << top) >> (8 * (bytes.len() - width)))
    };
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u64::from_be_bytes(*first), u64::from_be_bytes(*last));
        return joined(first.into(), last.into(), 8);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
        return joined(first.into(), last.into(), 4);
    }
    let next = |number: u128, byte: &u8| (number >> 8) | (u128::from(*byte) << 120);
    bytes.iter().rev().fold(0, next)
}

impl<'a> Point<'a> {
    /// A point without tags and fields.
    #[must_use]
    pub fn new(measurement: impl Into<Cow<'a, str>>, time_ns: i64) -> Self {
        Self {
            measurement: measurement.into(),
            tags: Vec::with_capacity(6),
            // Enough for most, and of a size that allocators keep at hand (1 KiB).
            fields: Vec::with_capacity(16),
            time_ns,
        }
    }

    /// Adds a tag.
    pub fn tag(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        self.tags.push((name.into(), value.into()));
    }

    /// Adds a field of a fixed name.
    pub fn field(&mut self, name: &'static str, value: Value<'a>) {
        debug_assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        );
        self.fields.push((
            FieldKey {
                prefix: Prefix::Own,
                name: Cow::Borrowed(name),
            },
            value,
        ));
    }

    /// Adds a field whose name is a prefix and a name from outside.
    pub fn prefixed(&mut self, prefix: Prefix, name: Cow<'a, str>, value: Value<'a>) {
        self.fields.push((FieldKey { prefix, name }, value));
    }

    /// Adds a number; one that is not finite is left out.
    pub fn float(&mut self, name: &'static str, value: f64) {
        if value.is_finite() {
            self.field(name, Value::Float(value));
        }
    }

    /// Puts tags and fields in their one order, drops what cannot be written (empty tags, numbers
    /// that are not finite) and the later of two with one name: the same point always has the same
    /// encoding. False if no field is left, which the database would refuse.
    pub fn seal(&mut self) -> bool {
        let is_empty =
            |(name, value): &(Cow<'_, str>, Cow<'_, str>)| name.is_empty() || value.is_empty();
        if self.tags.iter().any(is_empty) {
            self.tags.retain(|tag| !is_empty(tag));
        }
        // The stages add them in this order.
        if !self.tags.is_sorted_by(|a, b| a.0 < b.0) {
            self.tags.sort_by(|a, b| a.0.cmp(&b.0));
            self.tags.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        let is_writable = |(_, value): &(FieldKey<'_>, Value<'_>)| !matches!(value, Value::Float(number) if !number.is_finite());
        if !self.fields.iter().all(is_writable) {
            self.fields.retain(is_writable);
        }
        self.sort_fields();
        self.fields
            .dedup_by(|later, earlier| later.0.is_same(&earlier.0));
        !self.fields.is_empty()
    }

    /// Sorts the fields by name; of two with one name the earlier stays in front. Sorting them where
    /// they stand took a third of all time: whole names were compared, and whole fields moved, a few
    /// times each. Numbers are compared here, and every field moves at most once or twice.
    fn sort_fields(&mut self) {
        let count = self.fields.len();
        if count > FEW_FIELDS {
            self.fields.sort_by(|(a, _), (b, _)| a.order(b));
            return;
        }
        // One number a field, its place the last byte: nothing else is moved to find the order.
        let mut few = [0; FEW_FIELDS];
        let order = &mut few[..count];
        for ((key, _), (place, number)) in self.fields.iter().zip(order.iter_mut().zip(0_u128..)) {
            *place = key.head() | number;
        }
        order.sort_unstable();
        let field_at = |number: &u128| (number & 0xff) as usize;
        if order.windows(2).any(|pair| pair[0] >> 8 == pair[1] >> 8) {
            let fields = &self.fields;
            order.sort_by(|a, b| fields[field_at(a)].0.order(&fields[field_at(b)].0));
        }
        for place in 0..count {
            // What belongs here may have been moved away by an earlier swap; follow it.
            let mut from = field_at(&order[place]);
            while from < place {
                from = field_at(&order[from]);
            }
            if from != place {
                self.fields.swap(place, from);
            }
        }
    }
}
