//! What Kubernetes is told while the producer ends.

use crate::support::{Files, home, producer, with};
use ha_kit::{Gate, Place, eventually};

#[tokio::test]
async fn while_it_finishes_it_is_alive_and_no_longer_ready() {
    let (home, files, place) = (home().await, Files::new(), Place::new().await);
    let gate = Gate::start(&place.services.influxdb_v2_url()).await;
    let inline = with(files.variables(&home, "inline"), &place.influxdb());
    let behind_gate = [("INFLUXDB_URL", gate.url.clone())];
    let process = producer(&with(inline, &behind_gate));
    process.wait_until_ready().await;
    gate.close();
    home.fire(1);
    eventually("the event", async || {
        let received = process.status().await["events"]["received"].as_u64();
        (received >= Some(home.ledger().fired())).then_some(())
    })
    .await;
    assert_eq!(process.get("/healthz").await.0, 200);
    process.terminate();
    process.wait_until_not_ready(&["shutdown:"]).await;
    assert_eq!(process.get("/healthz").await.0, 200);

    gate.open();
    let ended = process.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}
