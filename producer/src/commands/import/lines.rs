//! Reading the file: lines to events, events to batches.

use super::progress::{BadLines, Progress};
use crate::deliver::encoded::EncodedBatch;
use ha_batch::{Batch, Envelope, Origin};
use ha_filter::Filter;
use ha_pipeline::now_ns;
use ha_settings::BatchingSettings;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A longer line is no message (`get_states` of a large home is a few MiB).
const LINE_BYTES_MAX: usize = 64 << 20;

/// Batches are kept small, whatever `FRAME_BYTES_MAX` allows: many are under way at one time.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A batch, and the line of each of its events.
#[derive(Debug)]
pub struct LineBatch {
    /// Ready for the route.
    pub batch: EncodedBatch,
    /// Line numbers, from 1.
    pub lines: Vec<u64>,
}

/// What reads.
pub struct Reader {
    pub instance: String,
    pub filter: Filter,
    pub limits: BatchingSettings,
    /// Closed when nobody wants more.
    pub batches: mpsc::Sender<LineBatch>,
    pub progress: Arc<Progress>,
    pub bad: Arc<BadLines>,
}

#[derive(Default)]
struct Open {
    events: Vec<Vec<u8>>,
    lines: Vec<u64>,
    bytes: usize,
    oldest_ns: Option<i64>,
}

/// The parts of an object that say what it is.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event_type: Option<&'a RawValue>,
}

impl Reader {
    /// Reads to the end, or until nobody wants more.
    pub fn read(self, file: impl Read) -> io::Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut open = Open::default();
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            let bytes = read_line(&mut file, &mut line)?;
            if bytes == 0 {
                break;
            }
            number += 1;
            self.progress.read(number, bytes);
            if line.len() > LINE_BYTES_MAX {
                self.bad
                    .report(number, &format!("longer than {LINE_BYTES_MAX} bytes"));
                continue;
            }
            if !self.take(&line, number, &mut open) {
                return Ok(());
            }
        }
        if !open.events.is_empty() {
            self.send(open);
        }
        Ok(())
    }

    /// Takes one line; whether anyone wants more.
    fn take(&self, line: &[u8], number: u64, open: &mut Open) -> bool {
        let mut problem = None;
        let mut wanted = true;
        let read = for_each_object(line, |text| match event(text) {
            Ok(Some(event)) => match self.accept(event, number, open) {
                Ok(()) if self.is_full(open) => wanted &= self.send(std::mem::take(open)),
                Ok(()) => {}
                Err(reason) => problem = problem.take().or(Some(reason)),
            },
            Ok(None) => self.progress.skipped(),
            Err(reason) => problem = problem.take().or(Some(reason)),
        });
        if let Some(reason) = read.err().or(problem) {
            self.bad.report(number, &reason);
        }
        wanted
    }

    /// Parses the event whole: what is none is reported here, by its line, and goes nowhere.
    fn accept(&self, event: &str, line: u64, open: &mut Open) -> Result<(), String> {
        let (bytes, bytes_max) = (event.len(), self.limits.event_bytes_max);
        if bytes > bytes_max {
            return Err(format!(
                "{bytes} bytes are more than EVENT_BYTES_MAX ({bytes_max})"
            ));
        }
        ha_event::parse(event.as_bytes()).map_err(|error| error.to_string())?;
        let peek = ha_event::peek(event.as_bytes()).map_err(|error| error.to_string())?;
        let is_left_out = peek.entity_id.as_deref().is_some_and(|entity| {
            self.filter.decide(entity).is_err()
                || self.filter.excludes_restart_artefacts()
                    && ha_enrich::is_restart_placeholder(event.as_bytes())
        });
        if is_left_out {
            self.progress.filtered();
            return Ok(());
        }
        let time_ns = peek.source_time.map(|time| time.as_nanos());
        open.oldest_ns = open.oldest_ns.into_iter().chain(time_ns).min();
        open.bytes += bytes;
        open.events.push(event.as_bytes().to_vec());
        open.lines.push(line);
        Ok(())
    }

    fn is_full(&self, open: &Open) -> bool {
        open.events.len() >= self.limits.events_max
            || open.bytes >= self.limits.bytes_max.min(BATCH_BYTES_MAX)
    }

    /// Waits while the way is behind; whether anyone wants more.
    fn send(&self, open: Open) -> bool {
        let Open {
            events,
            lines,
            bytes,
            oldest_ns,
        } = open;
        let received_at_ns = now_ns();
        let envelopes = events.iter().map(|json| Envelope {
            id: Uuid::now_v7(),
            instance: self.instance.as_str().into(),
            run_id: None,
            sequence: None,
            received_at_ns,
            origin: Origin::Import,
            json: json.as_slice().into(),
        });
        let batch = Batch::new(envelopes.collect());
        let mut payload = Vec::with_capacity(bytes + 160 * events.len() + 64);
        if let Err(error) = ha_batch::encode(&batch, &mut payload) {
            lines
                .iter()
                .for_each(|line| self.bad.report(*line, &error.to_string()));
            return true;
        }
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let batch = EncodedBatch {
            payload: payload.into(),
            envelopes: count,
            events: count,
            oldest_ns: oldest_ns.unwrap_or(received_at_ns),
            is_first_offer: false,
            trace: ha_trace::Context::default(),
        };
        self.batches
            .blocking_send(LineBatch { batch, lines })
            .is_ok()
    }
}

/// The event in an object: of a message, or the object itself; none in messages of other types.
fn event(text: &str) -> Result<Option<&str>, String> {
    if !text.starts_with('{') {
        return Err("neither a message nor an event".to_owned());
    }
    let object: Object<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match object {
        Object {
            event_type: Some(_),
            ..
        } => Ok(Some(text)),
        Object {
            kind: Some(kind),
            event,
            ..
        } if kind == "event" => event
            .map(|event| Some(event.get()))
            .ok_or_else(|| "an event message without event".to_owned()),
        Object { kind: Some(_), .. } => Ok(None),
        _ => Err("neither a message nor an event".to_owned()),
    }
}

/// Hands on the object of a line, or those of its array.
fn for_each_object(line: &[u8], mut each: impl FnMut(&str)) -> Result<(), String> {
    // Editors and Windows leave a mark at the beginning of a file.
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .map_err(|error| error.to_string())?
        .trim();
    if text.is_empty() {
        return Ok(());
    }
    if text.starts_with('[') {
        let elements: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        elements.into_iter().for_each(|element| each(element.get()));
    } else {
        each(text);
    }
    Ok(())
}

/// Reads a line into `line`, of a longer one than allowed just more than that; the bytes that it
/// takes in the file, 0 at the end.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut bytes = file
        .take(LINE_BYTES_MAX as u64 + 1)
        .read_until(b'\n', line)? as u64;
    while line.len() > LINE_BYTES_MAX && line.last() != Some(&b'\n') {
        let mut rest = Vec::new();
        let more = file.take(1 << 20).read_until(b'\n', &mut rest)?;
        bytes += more as u64;
        if more == 0 || rest.last() == Some(&b'\n') {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(line: &str) -> Vec<Result<Option<String>, String>> {
        let mut found = Vec::new();
        let read = for_each_object(line.as_bytes(), |text| {
            found.push(event(text).map(|event| event.map(str::to_owned)));
        });
        found.extend(read.err().map(Err));
        found
    }

    #[test]
    fn messages_arrays_and_bare_events_are_told_apart() {
        let bare = r#"{"event_type":"a","data":{}}"#;
        let message = format!(r#"{{"id":1,"type":"event","event":{bare}}}"#);
        let result = r#"{"id":1,"type":"result","success":true}"#;
        let found = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(events(bare), [found(bare)]);
        assert_eq!(events(&format!("\u{feff} {message}\r")), [found(bare)]);
        assert_eq!(
            events(&format!("[{message}, {result},{bare}]")),
            [found(bare), Ok(None), found(bare)]
        );
        assert_eq!(events(""), []);
        for bad in [
            "7",
            "{",
            "null",
            "{}",
            "[1]",
            r#"{"type":"event"}"#,
            r#"[{"event_type":"a"}"#,
        ] {
            let found = events(bad);
            assert!(found.len() == 1 && found[0].is_err(), "{bad}: {found:?}");
        }
    }

    #[test]
    fn overlong_lines_are_passed_over() {
        let text = [vec![b'x'; LINE_BYTES_MAX + (3 << 20)], b"\nnext\n".to_vec()].concat();
        let mut file = BufReader::new(text.as_slice());
        let mut line = Vec::new();
        assert_eq!(
            read_line(&mut file, &mut line).unwrap(),
            LINE_BYTES_MAX as u64 + (3 << 20) + 1
        );
        assert!(line.len() > LINE_BYTES_MAX);
        read_line(&mut file, &mut line).unwrap();
        assert_eq!(line, b"next\n");
        assert_eq!(read_line(&mut file, &mut line).unwrap(), 0);
    }
}
