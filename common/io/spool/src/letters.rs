//! The bounded letter store of a producer that has no broker to keep its dead letters.

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Error, OptionalExtension, Result, Row, params};

use crate::store::{Store, signed};
use crate::types::{LetterId, ListedLetter, StoredLetter};

/// Bytes of letters in one page of a listing; one letter at least.
const PAGE_BYTES_MAX: i64 = 8 * 1024 * 1024;

impl Store {
    /// Keeps letters, each under its id; an older letter of the same id goes. Returns how many
    /// others were dropped for room, oldest first.
    pub(crate) fn put_letters(&mut self, letters: &[StoredLetter]) -> Result<u64> {
        let mut dropped = 0;
        for letter in letters {
            self.take_letter(&letter.id)?;
            dropped += self.make_letter_room(signed(letter_bytes(letter)))?;
            self.insert_letter(None, letter)?;
        }
        Ok(dropped)
    }

    /// Writes a letter at a position, or behind all others.
    pub(crate) fn insert_letter(
        &mut self,
        position: Option<i64>,
        letter: &StoredLetter,
    ) -> Result<()> {
        let bytes = signed(letter_bytes(letter));
        let headers = serde_json::to_string(&letter.headers)
            .map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
        self.connection
            .prepare_cached("INSERT INTO letters VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                position,
                letter.id,
                letter.failed_at_ns,
                bytes,
                headers,
                &letter.payload[..]
            ])?;
        self.totals.letters += 1;
        self.totals.letters_bytes += bytes;
        Ok(())
    }

    fn make_letter_room(&mut self, bytes: i64) -> Result<u64> {
        let mut dropped = 0;
        while self.totals.letters > 0
            && (self.totals.letters >= self.letters_max
                || self.totals.letters_bytes + bytes > self.letters_bytes_max)
        {
            let removed = self
                .connection
                .prepare_cached(
                    "DELETE FROM letters WHERE position = (SELECT min(position) FROM letters)
                     RETURNING bytes",
                )?
                .query_row([], |row| row.get::<_, i64>(0))?;
            self.totals.letters -= 1;
            self.totals.letters_bytes -= removed;
            dropped += 1;
        }
        Ok(dropped)
    }

    fn take_letter(&mut self, id: &LetterId) -> Result<bool> {
        let removed = self
            .connection
            .prepare_cached("DELETE FROM letters WHERE id = ?1 RETURNING bytes")?
            .query_row([id], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(bytes) = removed else {
            return Ok(false);
        };
        self.totals.letters -= 1;
        self.totals.letters_bytes -= bytes;
        Ok(true)
    }

    /// Removes letters; returns how many of them there were.
    pub(crate) fn take_letters(&mut self, ids: &[LetterId]) -> Result<u64> {
        let mut taken = 0;
        for id in ids {
            taken += u64::from(self.take_letter(id)?);
        }
        Ok(taken)
    }

    /// A page of letters behind `after`, in the order in which they were put.
    pub(crate) fn list_letters(&self, after: i64, letters_max: usize) -> Result<Vec<ListedLetter>> {
        let mut query = self.connection.prepare_cached(
            "SELECT position, id, failed_at_ns, bytes, headers, payload FROM letters
             WHERE position > ?1 ORDER BY position",
        )?;
        let mut rows = query.query([after])?;
        let mut page = Vec::new();
        let mut bytes_left = PAGE_BYTES_MAX;
        while page.len() < letters_max
            && let Some(row) = rows.next()?
        {
            bytes_left -= row.get::<_, i64>(3)?;
            if bytes_left < 0 && !page.is_empty() {
                break;
            }
            page.push(read_letter(row)?);
        }
        Ok(page)
    }

    pub(crate) fn get_letter(&self, id: &LetterId) -> Result<Option<StoredLetter>> {
        self.connection
            .prepare_cached(
                "SELECT position, id, failed_at_ns, bytes, headers, payload FROM letters
                 WHERE id = ?1",
            )?
            .query_row([id], read_letter)
            .optional()
            .map(|found| found.map(|listed| listed.letter))
    }
}

/// A row of position, id, failed_at_ns, bytes, headers, payload.
pub(crate) fn read_letter(row: &Row<'_>) -> Result<ListedLetter> {
    let headers: String = row.get(4)?;
    let headers = serde_json::from_str(&headers)
        .map_err(|error| Error::FromSqlConversionFailure(4, Type::Text, Box::new(error)))?;
    let letter = StoredLetter {
        id: row.get(1)?,
        headers,
        payload: Bytes::from(row.get::<_, Vec<u8>>(5)?),
        failed_at_ns: row.get(2)?,
    };
    Ok(ListedLetter {
        position: row.get(0)?,
        letter,
    })
}

/// What a letter counts against the bound.
pub(crate) fn letter_bytes(letter: &StoredLetter) -> u64 {
    let headers: usize = letter
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    (headers + letter.payload.len()) as u64
}
