//! Faults of InfluxDB.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ha_services::Service;

use super::{NotPossible, Scene};
use crate::run::harness::Harness;

const DISK_MIB: u32 = 512;
const CHUNK_BYTES: usize = 1 << 20;
/// A field that a part of the events has, as a text. (For an attribute the state would be stored
/// without it, and nothing rejected.)
const CONFLICTING_FIELD: &str = "attributes_removed";

/// A file system of its own for the database; unmounted when it is dropped.
#[derive(Debug)]
pub(in crate::run::drill) struct Tmpfs {
    path: PathBuf,
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the database still has files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

impl Tmpfs {
    fn mount(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .output();
        let refused = match mounted {
            Ok(output) if output.status.success() => {
                return Ok(Self {
                    path: path.to_owned(),
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        bail!(NotPossible(format!(
            "a small file system cannot be mounted ({refused}); that needs root and CAP_SYS_ADMIN"
        )))
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.ballast())?;
        let chunk = vec![0_u8; CHUNK_BYTES];
        let mut size = chunk.len();
        while size > 0 {
            match file.write(&chunk[..size]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn empty(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.ballast())
    }
}

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

impl Scene<'_> {
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
