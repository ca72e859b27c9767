//! Bytes to batch and back.

use crate::{Batch, VERSION, usual};
use serde::Deserialize;

/// Why bytes are not a batch that this build can read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer producer: to be kept for a newer worker, never dead-lettered.
    #[error(
        "batch version {found} is newer than version {VERSION}, the newest that this build reads"
    )]
    NewerVersion {
        /// The version in the batch.
        found: u16,
    },
    /// Not MessagePack, cut off, or of another shape.
    #[error("not a batch: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// A batch, and something behind it.
    #[error("other bytes follow the batch")]
    TrailingBytes,
    /// A batch without events.
    #[error("the batch holds no events")]
    Empty,
}

/// Appends the batch to `out`.
///
/// # Errors
/// A field that MessagePack cannot hold: a text or list of more than 4 GiB.
pub fn encode(batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
    rmp_serde::encode::write_named(out, batch)
}

/// Reads a batch, borrowing from `bytes`.
///
/// # Errors
/// [`DecodeError`]; a newer version is told apart from rubbish.
pub fn decode(bytes: &[u8]) -> Result<Batch<'_>, DecodeError> {
    match usual::batch(bytes) {
        Some(batch) if batch.version <= VERSION && !batch.envelopes.is_empty() => Ok(batch),
        _ => decode_any(bytes),
    }
}

fn decode_any(bytes: &[u8]) -> Result<Batch<'_>, DecodeError> {
    let (decoded, trailing) = read::<Batch<'_>>(bytes);
    match decoded {
        Ok(batch) if batch.version > VERSION => Err(DecodeError::NewerVersion {
            found: batch.version,
        }),
        Ok(_) if trailing => Err(DecodeError::TrailingBytes),
        Ok(batch) if batch.envelopes.is_empty() => Err(DecodeError::Empty),
        Ok(batch) => Ok(batch),
        Err(error) => match version(bytes) {
            Some(found) if found > VERSION => Err(DecodeError::NewerVersion { found }),
            _ => Err(error.into()),
        },
    }
}

/// The version of a batch whose other fields may be unreadable.
#[must_use]
pub fn version(bytes: &[u8]) -> Option<u16> {
    // A batch is a map. The deserializer takes a list of values for one too, so two bytes of rubbish
    // (a list of the number 2) would make the worker wait for an upgrade that never comes.
    if !matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return None;
    }
    #[derive(Deserialize)]
    struct Head {
        v: u16,
    }
    read::<Head>(bytes).0.ok().map(|head| head.v)
}

/// The value, and whether anything follows it.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> (Result<T, rmp_serde::decode::Error>, bool) {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut deserializer);
    // The crate does not say how much it has read. Only the end of the input fails on the marker
    // of a scalar: whatever else stands there is either a scalar or of another type.
    let end = matches!(
        bool::deserialize(&mut deserializer),
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_))
    );
    (value, !end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntityFacts, Envelope, HomeFacts, Origin, WeatherFacts};
    use proptest::prelude::*;
    use std::borrow::Cow;
    use uuid::Uuid;

    fn envelope(json: &[u8], sequence: Option<u64>) -> Envelope<'_> {
        Envelope {
            id: Uuid::from_u128(7),
            instance: "home".into(),
            run_id: sequence.map(|_| 5),
            sequence,
            received_at_ns: 1,
            origin: if sequence.is_some() {
                Origin::Live
            } else {
                Origin::Import
            },
            json: json.into(),
        }
    }

    fn encoded(batch: &Batch<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode(batch, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_no_batch_says_which_way() {
        let good = encoded(&Batch::new(vec![envelope(b"{}", Some(1))]));
        for byte in 0..=u8::MAX {
            let mut trailing = good.clone();
            trailing.push(byte);
            assert!(
                matches!(decode(&trailing), Err(DecodeError::TrailingBytes)),
                "{byte}"
            );
        }
        assert!(matches!(decode(b""), Err(DecodeError::Malformed(_))));
        let list_of_two = [0x91, 2];
        assert!(matches!(
            decode(&list_of_two),
            Err(DecodeError::Malformed(_))
        ));
        assert!(matches!(
            decode(b"{\"json\":1}"),
            Err(DecodeError::Malformed(_))
        ));
        assert!(matches!(
            decode(&encoded(&Batch::new(vec![]))),
            Err(DecodeError::Empty)
        ));
        for cut in 0..good.len() {
            assert!(
                matches!(decode(&good[..cut]), Err(DecodeError::Malformed(_))),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_recognised_whatever_else_it_holds() {
        let mut newer = Batch::new(vec![envelope(b"{}", None)]);
        newer.version = VERSION + 1;
        assert!(matches!(
            decode(&encoded(&newer)),
            Err(DecodeError::NewerVersion { found: 2 })
        ));

        #[derive(serde::Serialize)]
        struct Other {
            v: u16,
            envelopes: &'static str,
        }
        let other = rmp_serde::to_vec_named(&Other {
            v: 9,
            envelopes: "elsewhere",
        })
        .unwrap();
        assert!(matches!(
            decode(&other),
            Err(DecodeError::NewerVersion { found: 9 })
        ));
    }

    #[test]
    fn fields_of_a_later_minor_layout_are_passed_over() {
        #[derive(serde::Serialize)]
        struct Later<'a> {
            v: u16,
            hint: &'a str,
            envelopes: Vec<LaterEnvelope<'a>>,
        }
        #[derive(serde::Serialize)]
        struct LaterEnvelope<'a> {
            #[serde(with = "serde_bytes")]
            id: &'a [u8],
            instance: &'a str,
            priority: u8,
            received_at: i64,
            origin: &'a str,
            #[serde(with = "serde_bytes")]
            json: &'a [u8],
        }
        let bytes = rmp_serde::to_vec_named(&Later {
            v: 1,
            hint: "new",
            envelopes: vec![LaterEnvelope {
                id: &[0; 16],
                instance: "home",
                priority: 3,
                received_at: 4,
                origin: "rest",
                json: b"{}",
            }],
        })
        .unwrap();
        let batch = decode(&bytes).unwrap();
        assert_eq!(
            (batch.envelopes[0].origin, batch.envelopes[0].sequence),
            (Origin::Rest, None)
        );
    }

    proptest! {
        #[test]
        fn batches_survive_the_round_trip(
            events in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), proptest::option::of(1_u64..)), 1..20),
            zone in proptest::option::of(".{0,20}"),
            labels in proptest::collection::vec(".{0,9}", 0..3),
        ) {
            let mut batch = Batch::new(
                events.iter().map(|(json, sequence)| envelope(json, *sequence)).collect(),
            );
            batch.home = zone.map(|zone| HomeFacts {
                time_zone: Some(zone.into()),
                latitude: Some(52.5),
                weather: Some(WeatherFacts { observed_at_us: -3, condition: "sunny".into(), attributes: "{}".into() }),
                ..HomeFacts::default()
            });
            batch.entities = vec![EntityFacts {
                entity_id: "light.a".into(),
                labels: labels.into_iter().map(Into::into).collect(),
                ..EntityFacts::default()
            }];
            let bytes = encoded(&batch);
            let decoded = usual::batch(&bytes).unwrap();
            prop_assert_eq!(&decoded, &batch);
            prop_assert_eq!(&decoded, &decode_any(&bytes).unwrap());
            // What is decoded lies in the bytes; nothing is copied.
            let home = decoded.home.iter().flat_map(|home| &home.time_zone);
            let labels = decoded.entities.iter().flat_map(|facts| &facts.labels);
            for text in home.chain(labels) {
                prop_assert!(matches!(text, Cow::Borrowed(_)), "{text} is a copy");
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_batch_with_a_changed_byte_is_what_serde_says(at: usize, byte: u8, is_gone: bool) {
            let mut bytes = encoded(&Batch {
                home: Some(HomeFacts {
                    latitude: Some(52.5),
                    sun: Some("up".into()),
                    weather: Some(WeatherFacts { observed_at_us: 3, condition: "sunny".into(), attributes: "{}".into() }),
                    ..HomeFacts::default()
                }),
                entities: vec![EntityFacts {
                    entity_id: "light.a".into(),
                    area: Some("Attic".into()),
                    labels: vec!["one".into()],
                    ..EntityFacts::default()
                }],
                ..Batch::new(vec![envelope(b"{\"a\":1}", Some(9)), envelope(b"{}", None)])
            });
            let at = at % bytes.len();
            match is_gone {
                true => drop(bytes.remove(at)),
                false => bytes[at] = byte,
            }
            let said = |read: Result<Batch<'_>, DecodeError>| format!("{read:?}");
            prop_assert_eq!(said(decode(&bytes)), said(decode_any(&bytes)));
        }
    }
}
