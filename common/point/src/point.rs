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

/// A field's name in two parts, so that `attr_` + name needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldKey<'a> {
    /// `attr_`, `text_` or nothing.
    pub prefix: &'static str,
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
        format!("{}{}", self.prefix, self.name)
    }

    /// The first bytes of the joined name as one number that orders as they do.
    fn head(&self) -> u128 {
        let mut head = [0; 16];
        let (prefix, name) = (self.prefix.as_bytes(), self.name.as_bytes());
        let prefix_bytes = prefix.len().min(head.len());
        let name_bytes = name.len().min(head.len() - prefix_bytes);
        head[..prefix_bytes].copy_from_slice(&prefix[..prefix_bytes]);
        head[prefix_bytes..prefix_bytes + name_bytes].copy_from_slice(&name[..name_bytes]);
        u128::from_be_bytes(head)
    }

    /// Orders by the joined name. Names without a prefix never begin with one, so comparing the
    /// heads first is the same as comparing the joined names, and much cheaper.
    fn order(&self, other: &Self) -> Ordering {
        if self.prefix == other.prefix {
            return self.name.cmp(&other.name);
        }
        let head = |key: &Self| {
            if key.prefix.is_empty() {
                key.name.len()
            } else {
                0
            }
        };
        match (head(self), head(other)) {
            (0, 0) => self.prefix.cmp(other.prefix),
            (0, _) => self.prefix.cmp(other.name.as_ref()),
            _ => self.name.as_ref().cmp(other.prefix),
        }
    }
}

impl<'a> Point<'a> {
    /// A point without tags and fields.
    #[must_use]
    pub fn new(measurement: impl Into<Cow<'a, str>>, time_ns: i64) -> Self {
        Self {
            measurement: measurement.into(),
            tags: Vec::with_capacity(6),
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
        self.fields.push((
            FieldKey {
                prefix: "",
                name: Cow::Borrowed(name),
            },
            value,
        ));
    }

    /// Adds a field whose name is a prefix and a name from outside.
    pub fn prefixed(&mut self, prefix: &'static str, name: Cow<'a, str>, value: Value<'a>) {
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
        self.fields.dedup_by(|later, earlier| {
            later.0.name == earlier.0.name && later.0.prefix == earlier.0.prefix
        });
        !self.fields.is_empty()
    }

    /// Sorts the fields by name; of two with one name the earlier stays in front. Sorting them where
    /// they stand took a third of all time: whole names were compared, and whole fields moved, a few
    /// times each. Numbers are compared here, and every field moves at most once or twice.
    fn sort_fields(&mut self) {
        let heads = self.fields.iter().map(|(key, _)| key.head());
        // Most points have few fields: their order is found without asking for memory.
        let (mut few, mut many) = ([(0, 0); FEW_FIELDS], Vec::new());
        let order: &mut [(u128, usize)] = if self.fields.len() <= FEW_FIELDS {
            let order = &mut few[..self.fields.len()];
            order
                .iter_mut()
                .zip(heads.zip(0..))
                .for_each(|(place, found)| *place = found);
            order
        } else {
            many.extend(heads.zip(0..));
            &mut many
        };
        let fields = &mut self.fields;
        order.sort_unstable_by(|(a_head, a), (b_head, b)| {
            let by_name = || fields[*a].0.order(&fields[*b].0);
            a_head.cmp(b_head).then_with(by_name).then(a.cmp(b))
        });
        for place in 0..order.len() {
            // What belongs here may have been moved away by an earlier swap; follow it.
            let mut from = order[place].1;
            while from < place {
                from = order[from].1;
            }
            fields.swap(place, from);
        }
    }
}
