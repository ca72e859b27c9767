//! The bounded dead letter store of a producer that has no broker to keep its dead letters.

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Error, OptionalExtension, Result, Row, params};

use crate::store::{Store, signed};
use crate::types::{DeadLetterId, ListedDeadLetter, StoredDeadLetter};

/// Bytes of dead letters in one page of a listing; one dead letter at least.
const PAGE_BYTES_MAX: i64 = 8 * 1024 * 1024;

impl Store {
    /// Keeps dead letters, each under its id; an older dead letter of the same id goes. Returns how many
    /// others were dropped for room, oldest first.
    pub(crate) fn put_dead_letters(&mut self, dead_letters: &[StoredDeadLetter]) -> Result<u64> {
        let mut dropped = 0;
        for dead_letter in dead_letters {
            self.take_dead_letter(&dead_letter.id)?;
            dropped += self.make_dead_letter_room(signed(dead_letter_bytes(dead_letter)))?;
            self.insert_dead_letter(None, dead_letter)?;
        }
        Ok(dropped)
    }

    /// Writes a dead letter at a position, or behind all others.
    pub(crate) fn insert_dead_letter(
        &mut self,
        position: Option<i64>,
        dead_letter: &StoredDeadLetter,
    ) -> Result<()> {
        let bytes = signed(dead_letter_bytes(dead_letter));
        let headers = serde_json::to_string(&dead_letter.headers)
            .map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
        self.connection
            .prepare_cached("INSERT INTO letters VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
            .execute(params![
                position,
                dead_letter.id,
                dead_letter.failed_at_ns,
                bytes,
                headers,
                &dead_letter.payload[..]
            ])?;
        self.totals.dead_letters += 1;
        self.totals.dead_letters_bytes += bytes;
        Ok(())
    }

    fn make_dead_letter_room(&mut self, bytes: i64) -> Result<u64> {
        let mut dropped = 0;
        while self.totals.dead_letters > 0
            && (self.totals.dead_letters >= self.dead_letters_max
                || self.totals.dead_letters_bytes + bytes > self.dead_letters_bytes_max)
        {
            let removed = self
                .connection
                .prepare_cached(
                    "DELETE FROM letters WHERE position = (SELECT min(position) FROM letters)
                     RETURNING bytes",
                )?
                .query_row([], |row| row.get::<_, i64>(0))?;
            self.totals.dead_letters -= 1;
            self.totals.dead_letters_bytes -= removed;
            dropped += 1;
        }
        Ok(dropped)
    }

    fn take_dead_letter(&mut self, id: &DeadLetterId) -> Result<bool> {
        let removed = self
            .connection
            .prepare_cached("DELETE FROM letters WHERE id = ?1 RETURNING bytes")?
            .query_row([id], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(bytes) = removed else {
            return Ok(false);
        };
        self.totals.dead_letters -= 1;
        self.totals.dead_letters_bytes -= bytes;
        Ok(true)
    }

    /// Removes dead letters; returns how many of them there were.
    pub(crate) fn take_dead_letters(&mut self, ids: &[DeadLetterId]) -> Result<u64> {
        let mut taken = 0;
        for id in ids {
            taken += u64::from(self.take_dead_letter(id)?);
        }
        Ok(taken)
    }

    /// A page of dead letters behind `after`, in the order in which they were put.
    pub(crate) fn list_dead_letters(
        &self,
        after: i64,
        dead_letters_max: usize,
    ) -> Result<Vec<ListedDeadLetter>> {
        let mut query = self.connection.prepare_cached(
            "SELECT position, id, failed_at_ns, bytes, headers, payload FROM letters
             WHERE position > ?1 ORDER BY position",
        )?;
        let mut rows = query.query([after])?;
        let mut page = Vec::new();
        let mut bytes_left = PAGE_BYTES_MAX;
        while page.len() < dead_letters_max
            && let Some(row) = rows.next()?
        {
            bytes_left -= row.get::<_, i64>(3)?;
            if bytes_left < 0 && !page.is_empty() {
                break;
            }
            page.push(read_dead_letter(row)?);
        }
        Ok(page)
    }

    pub(crate) fn get_dead_letter(&self, id: &DeadLetterId) -> Result<Option<StoredDeadLetter>> {
        self.connection
            .prepare_cached(
                "SELECT position, id, failed_at_ns, bytes, headers, payload FROM letters
                 WHERE id = ?1",
            )?
            .query_row([id], read_dead_letter)
            .optional()
            .map(|found| found.map(|listed| listed.dead_letter))
    }
}

/// A row of position, id, failed_at_ns, bytes, headers, payload.
pub(crate) fn read_dead_letter(row: &Row<'_>) -> Result<ListedDeadLetter> {
    let headers: String = row.get(4)?;
    let headers = serde_json::from_str(&headers)
        .map_err(|error| Error::FromSqlConversionFailure(4, Type::Text, Box::new(error)))?;
    let dead_letter = StoredDeadLetter {
        id: row.get(1)?,
        headers,
        payload: Bytes::from(row.get::<_, Vec<u8>>(5)?),
        failed_at_ns: row.get(2)?,
    };
    Ok(ListedDeadLetter {
        position: row.get(0)?,
        dead_letter,
    })
}

/// What a dead letter counts against the bound.
pub(crate) fn dead_letter_bytes(dead_letter: &StoredDeadLetter) -> u64 {
    let headers: usize = dead_letter
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    (headers + dead_letter.payload.len()) as u64
}
