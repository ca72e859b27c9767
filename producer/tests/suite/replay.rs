//! One capture, every way: the points are the same. The capture is of a Home Assistant 2024.3.3.

use crate::support::{
    Files, home, missing_or_wrong, producer, service_worker, wait_until_settled, with, worker,
};
use ha_kit::{Place, SOON, Stored, eventually, free_port};
use ha_simulator::{Replay, Simulator};
use serde_json::Value;
use std::path::Path;
use tokio::time::timeout;

const CAPTURE: &str = "tests/fixtures/home-assistant-2024.3.3.jsonl";

/// Points without what counts a run, and numbers as the floats that they are.
fn comparable(mut points: Vec<Stored>) -> Vec<Stored> {
    for point in &mut points {
        point
            .columns
            .retain(|name, _| name != "epoch" && name != "sequence");
        for value in point.columns.values_mut() {
            if let Some(number) = value.as_f64() {
                *value = Value::from(number);
            }
        }
    }
    points
}

async fn replay(home: &Simulator, variables: &[(&'static str, String)]) {
    let process = producer(variables);
    process.wait_until_ready().await;
    let capture = Replay::read(Path::new(CAPTURE)).unwrap().verbatim();
    let events = capture.events() as u64;
    let fired = timeout(SOON, home.replay(capture, 2_000.0, None))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(fired, events);
    wait_until_settled(&process, home).await;
    process.stop().await;
    assert_eq!(home.ledger().sent(), events);
}

#[tokio::test]
async fn the_capture_makes_the_same_points_on_every_way() {
    let (first, second, third) = (home().await, home().await, home().await);
    let fourth = home().await;
    let files = [Files::new(), Files::new(), Files::new(), Files::new()];
    let (of_inline, of_queue) = (Place::new().await, Place::new().await);
    let (of_service, port) = (Place::new().await, free_port());
    let workers = [
        worker(&of_queue),
        service_worker(&of_service, &files[3], port, "token"),
    ];
    let inline = with(files[0].variables(&first, "inline"), &of_inline.influxdb());
    let amqp = [("AMQP_URL", of_queue.amqp_url())];
    let queue = with(files[1].variables(&second, "queue"), &amqp);
    let embedded = files[2].embedded(&third, "inline");
    let intake = [
        ("ENRICHMENT_SERVICE_URL", format!("http://127.0.0.1:{port}")),
        ("INTAKE_TOKEN", "token".to_owned()),
    ];
    let service = with(files[3].variables(&fourth, "service"), &intake);
    tokio::join!(
        replay(&first, &inline),
        replay(&second, &queue),
        replay(&third, &embedded),
        replay(&fourth, &service),
    );
    let expected = first.ledger().sent() as usize;
    eventually("all points", async || {
        (of_queue.points().await.len() >= expected).then_some(())
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }

    let of_inline = comparable(of_inline.points().await);
    let of_queue = comparable(of_queue.points().await);
    let of_embedded = comparable(files[2].points());
    let of_service = comparable(of_service.points().await);
    assert_eq!(missing_or_wrong(&first, &of_inline), [""; 0]);
    assert_eq!(of_inline.len(), expected);
    for (name, points) in [
        ("queue", of_queue),
        ("embedded", of_embedded),
        ("service", of_service),
    ] {
        assert_eq!(points.len(), expected, "{name}");
        for (one, other) in of_inline.iter().zip(&points) {
            assert_eq!(one, other, "{name}");
        }
    }
    // There is something to compare.
    assert!(
        of_inline
            .iter()
            .any(|point| point.columns.contains_key("value"))
    );
    assert!(
        of_inline
            .iter()
            .any(|point| point.columns.keys().any(|key| key.starts_with("attr_")))
    );
}
