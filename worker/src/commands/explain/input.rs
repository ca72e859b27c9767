//! What can be explained, told apart by its looks.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ha_batch::{Envelope, Origin};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One thing to explain.
#[derive(Debug)]
pub(super) enum Input<'a> {
    /// An encoded batch: a dead letter, or a message of the queue.
    Batch(Cow<'a, [u8]>),
    /// One event, in an envelope made for it.
    Event(Envelope<'a>),
}

/// The parts of an object that say what it is.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    event_type: Option<&'a RawValue>,
    /// Of a captured WebSocket message.
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    /// Of a line of `dlq export`: a batch, Base64.
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
    /// Of `dlq show --json`: the dead letter's events.
    #[serde(borrow, default)]
    contents: Option<Vec<&'a RawValue>>,
    /// Of an envelope written as JSON: the event, or its text.
    #[serde(borrow, default)]
    json: Option<&'a RawValue>,
}

/// Everything in the bytes, in its order.
pub(super) fn read<'a>(bytes: &'a [u8], instance: &'a str) -> anyhow::Result<Vec<Input<'a>>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'[')) => text,
        _ if ha_batch::decode(bytes).is_ok() => {
            return Ok(vec![Input::Batch(Cow::Borrowed(bytes))]);
        }
        _ if ha_batch::is_compressed(bytes) => {
            let batch = ha_batch::decompress(bytes).context("--event: a compressed batch")?;
            return Ok(vec![Input::Batch(Cow::Owned(batch))]);
        }
        Ok(text) if text.trim().is_empty() => bail!("--event: there is nothing in it"),
        _ => bail!("--event: neither JSON nor a batch"),
    };
    let mut inputs = Vec::new();
    // Values follow each other with line breaks or nothing between them: JSON Lines and a single
    // indented object are read alike.
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.context("--event: not JSON")?;
        if value.get().starts_with('[') {
            let values: Vec<&RawValue> = serde_json::from_str(value.get())?;
            for value in values {
                take(value.get(), instance, &mut inputs)?;
            }
        } else {
            take(value.get(), instance, &mut inputs)?;
        }
    }
    if inputs.is_empty() {
        bail!("--event: there is no event in it");
    }
    Ok(inputs)
}

fn take<'a>(text: &'a str, instance: &'a str, inputs: &mut Vec<Input<'a>>) -> anyhow::Result<()> {
    let mut event = |json: Cow<'a, [u8]>| inputs.push(Input::Event(envelope(json, instance)));
    let object = match serde_json::from_str::<Object<'_>>(text) {
        Ok(object) => object,
        // Whatever it is, the parser of events has the words for it.
        Err(_) => {
            event(text.as_bytes().into());
            return Ok(());
        }
    };
    match object {
        Object {
            event_type: None,
            payload: Some(payload),
            ..
        } => {
            let payload = STANDARD.decode(payload.as_bytes());
            let payload = payload.context("--event: the payload of a dead letter is not Base64")?;
            inputs.push(Input::Batch(Cow::Owned(payload)));
        }
        Object {
            event_type: None,
            contents: Some(contents),
            ..
        } => contents.iter().for_each(|json| event(bytes_of(json))),
        Object {
            event_type: None,
            event: Some(inner),
            ..
        } => event(inner.get().as_bytes().into()),
        Object {
            event_type: None,
            json: Some(json),
            ..
        } => event(bytes_of(json)),
        // A capture holds other messages too.
        Object {
            event_type: None,
            kind: Some(_),
            ..
        } => {}
        _ => event(text.as_bytes().into()),
    }
    Ok(())
}

/// The JSON itself, or the text in a JSON string.
fn bytes_of(json: &RawValue) -> Cow<'_, [u8]> {
    match serde_json::from_str::<String>(json.get()) {
        Ok(text) => Cow::Owned(text.into_bytes()),
        Err(_) => json.get().as_bytes().into(),
    }
}

/// As if it had been received at its own time: an old capture is not late.
fn envelope<'a>(json: Cow<'a, [u8]>, instance: &'a str) -> Envelope<'a> {
    let source_time = ha_event::peek(&json).ok().and_then(|peek| peek.source_time);
    Envelope {
        id: uuid::Uuid::nil(),
        instance: instance.into(),
        run_id: None,
        sequence: None,
        received_at_ns: source_time.map_or(0, |time| time.as_nanos()),
        origin: Origin::Live,
        json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bytes: &[u8]) -> Vec<String> {
        let inputs = read(bytes, "home").unwrap();
        let event = |input: &Input<'_>| match input {
            Input::Event(envelope) => String::from_utf8(envelope.json.to_vec()).unwrap(),
            Input::Batch(payload) => {
                let batch = ha_batch::decode(payload).unwrap();
                String::from_utf8(batch.envelopes[0].json.to_vec()).unwrap()
            }
        };
        inputs.iter().map(event).collect()
    }

    #[test]
    fn every_shape_that_an_event_is_kept_in_is_read() {
        let event = r#"{"event_type":"a","data":{"n":1}}"#;
        let message = format!(r#"{{"id":1,"type":"event","event":{event}}}"#);
        let batch = ha_batch::Batch::new(vec![envelope(event.as_bytes().into(), "x")]);
        let mut payload = Vec::new();
        ha_batch::encode(&batch, &mut payload).unwrap();
        let exported = format!(
            r#"{{"id":"1","headers":{{}},"payload":"{}"}}"#,
            STANDARD.encode(&payload)
        );
        let quoted = serde_json::to_string(event).unwrap();
        for (text, count) in [
            (event.to_owned(), 1),
            (format!("\n  {message}\n"), 1),
            (format!("[{message},{message}]"), 2),
            (
                format!("{message}\n{{\"type\":\"pong\",\"id\":3}}\n{event}\n"),
                2,
            ),
            (exported, 1),
            (
                format!(r#"{{"id":"1","reason":"poison","contents":[{event}]}}"#),
                1,
            ),
            (format!(r#"{{"instance":"h","json":{quoted}}}"#), 1),
            (format!(r#"{{"instance":"h","json":{event}}}"#), 1),
        ] {
            assert_eq!(events(text.as_bytes()), vec![event; count], "{text}");
        }
        assert_eq!(events(&payload), [event]);
        assert_eq!(events(b"{\"data\":1}"), ["{\"data\":1}"]);
    }

    #[test]
    fn what_holds_no_event_says_so() {
        for (bytes, words) in [
            (&b""[..], "nothing in it"),
            (b"hello", "neither JSON nor a batch"),
            (b"\xff\xfe", "neither JSON nor a batch"),
            (b"{\"a\":", "not JSON"),
            (b"[]", "no event in it"),
            (br#"{"payload":"%"}"#, "not Base64"),
        ] {
            let error = format!("{:#}", read(bytes, "home").unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
