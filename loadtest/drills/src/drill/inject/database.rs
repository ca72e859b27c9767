//! Faults of InfluxDB.

use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ha_services::Service;
use loadtest_engine::harness::Harness;

use crate::drill::context::Context;
use crate::drill::tmpfs::Tmpfs;

/// A field that a part of the events has, as a text. (For an attribute the state would be stored
/// without it, and nothing rejected.)
const CONFLICTING_FIELD: &str = "attributes_removed";

/// Moves the empty database to a small file system. Only what the database writes: its process id
/// stands beside, where those who stop the services look for it, also when the file system is gone.
pub(super) async fn on_small_disk(harness: &Harness) -> anyhow::Result<Tmpfs> {
    let services = harness.own_services()?;
    let bucket = harness.setting("INFLUXDB_BUCKET");
    let bucket = bucket.context("no database")?.to_owned();
    services.stop(Service::InfluxDb).await?;
    let state = services.dir().join("influxdb");
    let tmpfs = Tmpfs::mount(&state.join("disk"))?;
    for folder in ["data", "meta", "wal"] {
        // InfluxDB makes some of them with the first point only.
        if state.join(folder).exists() {
            std::fs::remove_dir_all(state.join(folder))?;
        }
        std::fs::create_dir(tmpfs.path.join(folder))?;
        symlink(tmpfs.path.join(folder), state.join(folder))?;
    }
    services.start_again(Service::InfluxDb).await?;
    services.create_database(&bucket).await?;
    Ok(tmpfs)
}

/// Makes a field be of another type than the product writes.
pub(super) async fn write_other_type(harness: &Harness) -> anyhow::Result<()> {
    let services = harness.own_services()?;
    let bucket = harness.setting("INFLUXDB_BUCKET").context("no database")?;
    let url = format!("{}/write?db={bucket}", services.influxdb_url());
    let line = format!("home_assistant_events,entity_id=drill.before {CONFLICTING_FIELD}=1");
    let answer = harness.client().post(url).body(line).send().await?;
    let status = answer.status();
    ensure!(
        status.is_success(),
        "InfluxDB did not take the point that comes before: {status} {}",
        answer.text().await.unwrap_or_default()
    );
    Ok(())
}

impl Context<'_> {
    pub(super) async fn crash_database(&mut self, lasts: Duration) -> anyhow::Result<()> {
        self.harness
            .own_services()?
            .kill9(Service::InfluxDb)
            .await?;
        self.hold(lasts).await?;
        self.start(Service::InfluxDb).await
    }

    pub(super) async fn fill_disk(&mut self, lasts: Duration) -> anyhow::Result<()> {
        let tmpfs = self.prepared.tmpfs.as_ref().context("no small disk")?;
        tmpfs.fill()?;
        self.hold(lasts).await?;
        tmpfs.empty()?;
        // InfluxDB 1.x goes on refusing: its log keeps the error of the first write that failed.
        self.harness.own_services()?.stop(Service::InfluxDb).await?;
        self.start(Service::InfluxDb).await
    }
}
