//! Batches as a producer publishes them.

use futures_util::future::join_all;
use ha_batch::{Batch, Envelope, Origin};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel};

/// A state change of the n-th microsecond of 2026.
pub fn state_changed(entity: &str, state: &str, n: u64) -> String {
    let (seconds, micros) = (n / 1_000_000, n % 1_000_000);
    let time = format!(
        "2026-01-01T00:{:02}:{:02}.{micros:06}+00:00",
        seconds / 60,
        seconds % 60
    );
    serde_json::json!({
        "event_type": "state_changed",
        "data": {
            "entity_id": entity,
            "old_state": null,
            "new_state": {
                "entity_id": entity, "state": state,
                "attributes": {"unit_of_measurement": "W"},
                "last_changed": time, "last_updated": time,
                "context": {"id": "x", "parent_id": null, "user_id": null},
            },
        },
        "origin": "LOCAL", "time_fired": time,
        "context": {"id": "x", "parent_id": null, "user_id": null},
    })
    .to_string()
}

pub fn batch(events: &[String]) -> Vec<u8> {
    let envelopes = events
        .iter()
        .enumerate()
        .map(|(n, json)| Envelope {
            id: uuid::Uuid::from_u128(n as u128),
            instance: "home".into(),
            run_id: Some(1),
            sequence: Some(n as u64),
            received_at_ns: 1,
            origin: Origin::Live,
            json: json.as_bytes().into(),
        })
        .collect();
    encoded(&Batch::new(envelopes))
}

pub fn encoded(batch: &Batch<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ha_batch::encode(batch, &mut bytes).unwrap();
    bytes
}

/// `batches` batches of 100 events each, no two events with one time.
pub fn many(batches: u64) -> Vec<Vec<u8>> {
    (0..batches)
        .map(|batch_number| {
            let events: Vec<_> = (0..100)
                .map(|n| {
                    let number = batch_number * 100 + n;
                    state_changed(
                        &format!("sensor.s{}", number % 37),
                        &number.to_string(),
                        number,
                    )
                })
                .collect();
            batch(&events)
        })
        .collect()
}

/// Publishes to the exchange `ha.events`, confirmed.
pub async fn publish(channel: &Channel, bodies: &[Vec<u8>]) {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let sent = bodies.iter().map(|body| async move {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let publish =
            channel.basic_publish("ha.events".into(), "home".into(), options, body, properties);
        let confirm = publish.await.unwrap().await.unwrap();
        assert!(
            matches!(confirm, lapin::Confirmation::Ack(None)),
            "{confirm:?}"
        );
    });
    join_all(sent).await;
}
