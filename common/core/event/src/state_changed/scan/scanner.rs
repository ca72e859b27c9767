//! Moves over the text of an event, member by member, and checks its JSON on the way.

use crate::attributes::{Entry, text_of};
use crate::state_changed::wire::{Data, Text, Wire, WireState};
use std::borrow::Cow;

/// Deeper nesting is left to the general parser.
const DEPTH_MAX: u8 = 64;

/// What has been read and checked, and mostly comes a second time: an object that begins with the
/// bytes of another is that object, so looking for them is enough.
#[derive(Default)]
pub(super) struct Seen<'a> {
    /// The old state's attributes, whole; empty where there are none.
    pub(super) attributes: &'a str,
    /// The old state's attributes, split.
    pub(super) entries: Vec<Entry<'a>>,
    /// The context of the last state, whole.
    pub(super) context: &'a str,
}

pub(super) struct Scan<'a, const PLAIN: bool> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) seen: Seen<'a>,
}

/// A string in the text: where its quotes stand, and whether anything in it is escaped.
pub(super) struct Quoted {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_escaped: bool,
}

impl<'a, const PLAIN: bool> Scan<'a, PLAIN> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            seen: Seen::default(),
        }
    }

    /// The event, whatever order its members have.
    pub(super) fn event(&mut self) -> Option<Wire<'a>> {
        let mut event_type = None;
        let mut data = None;
        let (mut time_fired, mut context) = (None, None);
        self.peek()?;
        self.object(|scan, key| {
            match key {
                "event_type" if event_type.is_none() => event_type = Some(scan.text()?),
                // Of other types, and where the type comes later, the data may be anything.
                "data"
                    if data.is_none()
                        && event_type.as_deref() == Some(super::super::wire::STATE_CHANGED) =>
                {
                    data = Some(scan.data()?);
                }
                "event_type" | "data" => return None,
                "time_fired" => time_fired = scan.optional_text()?,
                "context" => context = scan.optional_raw()?,
                _ => scan.value(0)?,
            }
            Some(())
        })?;
        // Only white space may follow.
        if self.peek().is_some() {
            return None;
        }
        Some(Wire {
            event_type: event_type?,
            state_changed: Some(data?),
            data: None,
            time_fired,
            context,
        })
    }

    /// The first byte that is not white space, from here on.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        match *self.text.as_bytes().get(self.at)? {
            byte @ b'!'.. => Some(byte),
            _ => self.peek_behind_space(),
        }
    }

    pub(super) fn peek_behind_space(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match *bytes.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// An object; the callback reads each member's value, which begins where the scan stands.
    /// Escaped names are left to the general parser.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.members(|scan, name| {
            if name.is_escaped {
                return None;
            }
            let name = scan.text.get(name.start + 1..name.end - 1)?;
            member(scan, name)
        })
    }

    pub(super) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Quoted) -> Option<()>,
    ) -> Option<()> {
        if self.peek()? != b'{' {
            return None;
        }
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.peek()?;
            let name = self.string()?;
            if self.peek()? != b':' {
                return None;
            }
            self.at += 1;
            self.peek()?;
            member(self, name)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Passes these bytes, if they come next.
    #[inline(always)]
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let is_next = rest.starts_with(bytes);
        self.at += if is_next { bytes.len() } else { 0 };
        is_next.then_some(())
    }

    pub(super) fn data(&mut self) -> Option<Data<'a>> {
        let (mut entity_id, mut old_state, mut new_state) = (None, None, None);
        self.object(|scan, key| {
            match key {
                "entity_id" if entity_id.is_none() => entity_id = Some(scan.text()?),
                "old_state" if old_state.is_none() => old_state = Some(scan.optional_state()?),
                "new_state" if new_state.is_none() => new_state = Some(scan.optional_state()?),
                "entity_id" | "old_state" | "new_state" => return None,
                _ => scan.value(0)?,
            }
            Some(())
        })?;
        Some(Data {
            entity_id: entity_id?,
            old_state: old_state.flatten(),
            new_state: new_state.flatten(),
        })
    }

    pub(super) fn optional_state(&mut self) -> Option<Option<WireState<'a>>> {
        if self.is_null()? {
            return Some(None);
        }
        let (mut entity_id, mut state, mut attributes) = (None, None, None);
        let (mut last_changed, mut last_updated) = (None, None);
        self.object(|scan, key| {
            match key {
                "entity_id" if entity_id.is_none() => entity_id = Some(scan.optional_text()?),
                "state" if state.is_none() => state = Some(scan.text()?),
                "attributes" if attributes.is_none() => attributes = Some(scan.attributes()?),
                "last_changed" if last_changed.is_none() => {
                    last_changed = Some(scan.optional_text()?);
                }
                "last_updated" if last_updated.is_none() => {
                    last_updated = Some(scan.optional_text()?);
                }
                "entity_id" | "state" | "attributes" | "last_changed" | "last_updated" => {
                    return None;
                }
                _ => scan.value(0)?,
            }
            Some(())
        })?;
        let (attributes, entries) = attributes.unwrap_or((None, Vec::new()));
        Some(Some(WireState {
            entity_id: entity_id.flatten(),
            state: state?,
            attributes,
            entries: Some(entries),
            last_changed: last_changed.flatten(),
            last_updated: last_updated.flatten(),
        }))
    }

    /// The attributes' text, and their names and values.
    pub(super) fn attributes(&mut self) -> Option<(Option<&'a str>, Vec<Entry<'a>>)> {
        if self.peek()? != b'{' {
            return Some((self.optional_raw()?, Vec::new()));
        }
        let start = self.at;
        let mut entries = Vec::with_capacity(16);
        self.members(|scan, name| {
            let name = scan.unquoted(&name)?;
            let start = scan.at;
            scan.value(0)?;
            entries.push((name, scan.text.get(start..scan.at)?));
            Some(())
        })?;
        Some((Some(self.text.get(start..self.at)?), entries))
    }

    /// The text of a string that has been passed.
    pub(super) fn unquoted(&self, quoted: &Quoted) -> Option<Cow<'a, str>> {
        if quoted.is_escaped {
            text_of(self.text.get(quoted.start..quoted.end)?)
        } else {
            let inner = self.text.get(quoted.start + 1..quoted.end - 1)?;
            Some(Cow::Borrowed(inner))
        }
    }

    pub(super) fn text(&mut self) -> Option<Cow<'a, str>> {
        let quoted = self.string()?;
        self.unquoted(&quoted)
    }

    pub(super) fn is_null(&mut self) -> Option<bool> {
        if self.peek()? != b'n' {
            return Some(false);
        }
        self.word("null")?;
        Some(true)
    }

    pub(super) fn optional_text(&mut self) -> Option<Option<Text<'a>>> {
        if self.is_null()? {
            return Some(None);
        }
        Some(Some(Text(self.text()?)))
    }

    pub(super) fn optional_raw(&mut self) -> Option<Option<&'a str>> {
        if self.is_null()? {
            return Some(None);
        }
        let start = self.at;
        self.value(0)?;
        Some(Some(self.text.get(start..self.at)?))
    }

    /// Passes one value, which begins here.
    pub(super) fn value(&mut self, depth: u8) -> Option<()> {
        match *self.text.as_bytes().get(self.at)? {
            b'"' => self.string().map(drop),
            b'{' if depth < DEPTH_MAX => self.members(|scan, _| scan.value(depth + 1)),
            b'[' if depth < DEPTH_MAX => self.list(depth + 1),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    pub(super) fn list(&mut self, depth: u8) -> Option<()> {
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.peek()?;
            self.value(depth)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    pub(super) fn word(&mut self, word: &str) -> Option<()> {
        let end = self.at + word.len();
        let is_there = self.text.as_bytes().get(self.at..end)? == word.as_bytes();
        self.at = end;
        is_there.then_some(())
    }

    pub(super) fn number(&mut self) -> Option<()> {
        let bytes = self.text.as_bytes();
        let digits = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let mut at = self.at;
        at += usize::from(bytes.get(at) == Some(&b'-'));
        match bytes.get(at)? {
            b'0' => at += 1,
            b'1'..=b'9' => at += digits(at),
            _ => return None,
        }
        if bytes.get(at) == Some(&b'.') {
            let count = digits(at + 1);
            if count == 0 {
                return None;
            }
            at += 1 + count;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            let count = digits(at);
            if count == 0 {
                return None;
            }
            at += count;
        }
        self.at = at;
        Some(())
    }

    /// Passes a string, which begins here.
    pub(super) fn string(&mut self) -> Option<Quoted> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        if *bytes.get(start)? != b'"' {
            return None;
        }
        if PLAIN {
            self.at = quote(bytes, start + 1)? + 1;
            return Some(Quoted {
                start,
                end: self.at,
                is_escaped: false,
            });
        }
        let mut at = start + 1;
        let mut is_escaped = false;
        loop {
            at = special(bytes, at)?;
            match bytes[at] {
                b'"' => {
                    self.at = at + 1;
                    return Some(Quoted {
                        start,
                        end: at + 1,
                        is_escaped,
                    });
                }
                b'\\' => {
                    is_escaped = true;
                    at += match bytes.get(at + 1)? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                        b'u' if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                        _ => return None,
                    };
                }
                // A control character.
                _ => return None,
            }
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Whether nothing in the text is escaped and no character is a control character, so that every
/// string ends at the next quote.
pub(crate) fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Without a way out of the loop the compiler looks at many bytes at a time.
    let least = bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    least >= b' ' && memchr::memchr(b'\\', bytes).is_none()
}

/// The place of the first quote from `at` on.
#[inline]
fn quote(bytes: &[u8], at: usize) -> Option<usize> {
    let (eights, rest) = bytes.get(at..)?.as_chunks::<8>();
    for (number, eight) in eights.iter().enumerate() {
        let differs = u64::from_le_bytes(*eight) ^ (ONES * u64::from(b'"'));
        // A borrow can set bits behind the first place only.
        let found = differs.wrapping_sub(ONES) & !differs & HIGHS;
        if found != 0 {
            return Some(at + number * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let found = rest.iter().position(|byte| *byte == b'"')?;
    Some(at + eights.len() * 8 + found)
}

/// The place of the first quote, backslash or control character from `at` on.
fn special(bytes: &[u8], mut at: usize) -> Option<usize> {
    // Eight bytes at a time: of each the high bit is set where it is one of those. A borrow can set
    // bits behind the first of them only, and the first is what counts.
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let zero_where = |byte: u8| {
            let differs = word ^ (ONES * u64::from(byte));
            differs.wrapping_sub(ONES) & !differs
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (zero_where(b'"') | zero_where(b'\\') | control) & HIGHS;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, 0..=0x1f | b'"' | b'\\');
    let rest = bytes.get(at..)?;
    rest.iter().position(is_special).map(|found| at + found)
}
