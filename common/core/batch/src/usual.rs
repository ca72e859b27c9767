//! Batches as [`encode`](crate::encode) writes them: every field known, in its order. Serde checks the
//! encoding of every name as of every text, and looks each up; a worker's profile shows it.

use crate::{Batch, EntityFacts, Envelope, HomeFacts, Origin, WeatherFacts};
use rmp::decode::{read_array_len, read_bin_len, read_f64, read_int, read_map_len, read_str_len};
use std::borrow::Cow;
use uuid::Uuid;

/// Reads a batch as serde would; `None` for what is written in another way, or is no batch:
/// serde knows which.
pub(crate) fn batch(bytes: &[u8]) -> Option<Batch<'_>> {
    let mut input = Input(bytes);
    let batch = input.batch()?;
    input.0.is_empty().then_some(batch)
}

/// What is still to be read.
struct Input<'a>(&'a [u8]);

/// The members of a map that are still to be read.
struct Members(u32);

impl<'a> Input<'a> {
    fn batch(&mut self) -> Option<Batch<'a>> {
        let mut members = self.map()?;
        let batch = Batch {
            version: self.required(&mut members, b"\xa1v", |input| read_int(&mut input.0).ok())?,
            home: self.optional(&mut members, b"\xa4home", Self::home)?,
            entities: self
                .optional(&mut members, b"\xa8entities", |input| {
                    input.list(Self::entity)
                })?
                .unwrap_or_default(),
            replay: None,
            envelopes: self.required(&mut members, b"\xa9envelopes", |input| {
                input.list(Self::envelope)
            })?,
        };
        members.all_read().then_some(batch)
    }

    fn envelope(&mut self) -> Option<Envelope<'a>> {
        let mut members = self.map()?;
        let envelope = Envelope {
            id: self.required(&mut members, b"\xa2id", Self::id)?,
            instance: self.required(&mut members, b"\xa8instance", Self::text)?,
            run_id: self.optional(&mut members, b"\xa5epoch", Self::number)?,
            sequence: self.optional(&mut members, b"\xa8sequence", Self::number)?,
            received_at_ns: self.required(&mut members, b"\xabreceived_at", |input| {
                read_int(&mut input.0).ok()
            })?,
            origin: self.required(&mut members, b"\xa6origin", Self::origin)?,
            json: self
                .required(&mut members, b"\xa4json", Self::bytes)?
                .into(),
        };
        members.all_read().then_some(envelope)
    }

    fn entity(&mut self) -> Option<EntityFacts<'a>> {
        let mut members = self.map()?;
        let entity = EntityFacts {
            entity_id: self.required(&mut members, b"\xa9entity_id", Self::text)?,
            area: self.optional(&mut members, b"\xa4area", Self::text)?,
            floor: self.optional(&mut members, b"\xa5floor", Self::text)?,
            device: self.optional(&mut members, b"\xa6device", Self::text)?,
            integration: self.optional(&mut members, b"\xabintegration", Self::text)?,
            labels: self
                .optional(&mut members, b"\xa6labels", |input| input.list(Self::text))?
                .unwrap_or_default(),
        };
        members.all_read().then_some(entity)
    }

    fn home(&mut self) -> Option<HomeFacts<'a>> {
        let mut members = self.map()?;
        let home = HomeFacts {
            time_zone: self.optional(&mut members, b"\xa9time_zone", Self::text)?,
            latitude: self.optional(&mut members, b"\xa8latitude", Self::float)?,
            longitude: self.optional(&mut members, b"\xa9longitude", Self::float)?,
            sun: self.optional(&mut members, b"\xa3sun", Self::text)?,
            weather: self.optional(&mut members, b"\xa7weather", Self::weather)?,
        };
        members.all_read().then_some(home)
    }

    fn weather(&mut self) -> Option<WeatherFacts<'a>> {
        let mut members = self.map()?;
        let weather = WeatherFacts {
            observed_at_us: self.required(&mut members, b"\xabobserved_at", |input| {
                read_int(&mut input.0).ok()
            })?,
            condition: self.required(&mut members, b"\xa9condition", Self::text)?,
            attributes: self.required(&mut members, b"\xaaattributes", Self::text)?,
        };
        members.all_read().then_some(weather)
    }

    fn map(&mut self) -> Option<Members> {
        read_map_len(&mut self.0).ok().map(Members)
    }

    /// The next member, which must be of that name, as it is encoded.
    fn required<T>(
        &mut self,
        members: &mut Members,
        name: &'static [u8],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        members.0 = members.0.checked_sub(1)?;
        self.0 = self.0.strip_prefix(name)?;
        read(self)
    }

    /// The next member, if it is of that name.
    fn optional<T>(
        &mut self,
        members: &mut Members,
        name: &'static [u8],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match members.0 > 0 && self.0.starts_with(name) {
            true => self.required(members, name, read).map(Some),
            false => Some(None),
        }
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = read_array_len(&mut self.0).ok()?;
        // An element has at least one byte, whatever the length says.
        let mut list = Vec::with_capacity((length as usize).min(self.0.len()).min(1_000));
        for _ in 0..length {
            list.push(read(self)?);
        }
        Some(list)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = read_bin_len(&mut self.0).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<Cow<'a, str>> {
        let length = read_str_len(&mut self.0).ok()?;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some(Cow::Borrowed(text))
    }

    fn origin(&mut self) -> Option<Origin> {
        let all = [Origin::Live, Origin::Backfill, Origin::Import, Origin::Rest];
        let length = read_str_len(&mut self.0).ok()?;
        let word = self.take(length)?;
        all.into_iter()
            .find(|origin| origin.as_str().as_bytes() == word)
    }

    fn id(&mut self) -> Option<Uuid> {
        Uuid::from_slice(self.bytes()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        read_int(&mut self.0).ok()
    }

    fn float(&mut self) -> Option<f64> {
        read_f64(&mut self.0).ok()
    }

    fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some(taken)
    }
}

impl Members {
    fn all_read(&self) -> bool {
        self.0 == 0
    }
}
