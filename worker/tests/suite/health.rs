//! What Kubernetes is told while the worker ends.

use crate::batches::{many, publish};
use crate::{variables, worker};
use ha_kit::{Gate, Place, eventually};

#[tokio::test]
async fn while_it_finishes_it_is_alive_and_no_longer_ready() {
    const BATCHES: u64 = 5;
    let place = Place::new().await;
    let gate = Gate::start(&place.services.influxdb_v2_url()).await;
    let mut variables = variables(&place);
    variables.retain(|(name, _)| *name != "INFLUXDB_URL");
    variables.push(("INFLUXDB_URL", gate.url.clone()));
    variables.push(("SHUTDOWN_GRACE_S", "120".into()));
    let process = worker(&variables);
    process.wait_until_ready().await;
    gate.close();
    let (_connection, channel) = place.channel().await;
    publish(&channel, &many(BATCHES)).await;
    eventually("deliveries that are held", async || {
        let held = format!(r#"deliveries_in_flight{{queue="ha.events"}} {BATCHES}"#);
        process
            .get("/metrics")
            .await
            .1
            .contains(&held)
            .then_some(())
    })
    .await;
    assert_eq!(process.get("/healthz").await.0, 200);
    process.terminate();
    process.wait_until_not_ready(&["shutdown:"]).await;
    assert_eq!(process.get("/healthz").await.0, 200);

    gate.open();
    let ended = process.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert_eq!(place.count().await as u64, BATCHES * 100);
    assert_eq!(place.depth("ha.events").await, 0);
}
