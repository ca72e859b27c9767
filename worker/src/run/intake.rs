//! The worker's intake: events over HTTP into the same pipeline, beside the queue or without one.
//!
//! Without a broker the worker's dead letters are kept in a spool database of its own, where
//! `worker dlq --spool-path` finds them. Dead letters that it replays wait in the same file as batches;
//! they go through the pipeline when the worker is started on it again.

use anyhow::Context;
use ha_dead_letters::DeadLetterPlace;
use ha_http::{BearerToken, Intake, IntakeOptions, Limits};
use ha_pipeline::{Outcome, Pipeline, Work};
use ha_settings::IntakeSettings;
use ha_spool::{OpenError, Spool, SpoolOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Workers that share a folder without having been given a file each.
const SHARERS_MAX: usize = 64;

/// Batches of replayed dead letters in the pipeline at one time.
const REPLAYED_BATCHES_MAX: usize = 64;
const REPLAYED_BYTES_MAX: usize = 8 << 20;

/// For answers of the pipeline and the disk while the process ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the dead letters of a worker without a broker are kept.
#[derive(Debug, Clone)]
pub struct DeadLettersFile {
    /// The file (`SPOOL_PATH`).
    pub path: PathBuf,
    /// Whether that is the default: then the next name is taken where another process has it.
    pub is_default: bool,
}

impl DeadLettersFile {
    /// Opens the file; gives its path too.
    ///
    /// # Errors
    /// It cannot be used, or another process has it.
    pub async fn open(&self, bytes_max: u64) -> anyhow::Result<(Spool, PathBuf)> {
        let mut number = 1;
        loop {
            let path = numbered(&self.path, number);
            match Spool::open(SpoolOptions::new(&path, bytes_max)).await {
                Ok(opened) => return Ok((opened.spool, path)),
                Err(OpenError::InUse { .. }) if self.is_default && number < SHARERS_MAX => {
                    number += 1;
                }
                Err(error) => return Err(error).context("the file of this worker's dead letters"),
            }
        }
    }
}

/// `spool.db`, `spool-2.db`, `spool-3.db` …
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.db"))
}

/// Listens.
///
/// # Errors
/// The address cannot be listened on.
pub async fn bind(settings: &IntakeSettings, instance: &str) -> anyhow::Result<Intake> {
    let token = settings.token.as_ref();
    let options = IntakeOptions {
        address: settings.address,
        token: token.and_then(|token| BearerToken::new(token.reveal())),
        instance: instance.to_owned(),
        limits: Limits {
            event_bytes_max: settings.event_bytes_max,
            ..Limits::default()
        },
    };
    Ok(Intake::bind(options).await?)
}

/// Serves until `shutdown`, then finishes what has arrived, within the grace.
pub async fn serve(
    intake: Intake,
    pipeline: Arc<Pipeline<DeadLetterPlace>>,
    shutdown: &CancellationToken,
    grace: Duration,
) {
    let grace_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        () = intake.serve(pipeline, shutdown.clone()) => {}
        () = grace_over => {
            tracing::warn!("the grace is over; senders of what is not stored send it again");
        }
    }
}

/// Takes the batches of replayed dead letters through the pipeline, oldest first; a batch is removed when
/// it is settled. Returns when there are none left, or at `shutdown`.
pub async fn drain(
    spool: Spool,
    pipeline: Arc<Pipeline<DeadLetterPlace>>,
    shutdown: CancellationToken,
) {
    let waiting = spool.stats().batches;
    if waiting == 0 {
        return;
    }
    tracing::info!(waiting, "replayed dead letters go through the pipeline");
    let (work, input) = mpsc::channel(REPLAYED_BATCHES_MAX);
    let (output, mut outcomes) = mpsc::channel(REPLAYED_BATCHES_MAX);
    let running = tokio::spawn(async move { pipeline.run(input, output).await });
    let drained = async {
        loop {
            let page = spool
                .oldest(0, REPLAYED_BATCHES_MAX, REPLAYED_BYTES_MAX)
                .await?;
            if page.is_empty() {
                return anyhow::Ok(());
            }
            let count = page.len();
            for batch in page {
                let (payload, replay) = (batch.batch.payload, None);
                let ack_handle = u64::try_from(batch.id).unwrap_or_default();
                let item = Work {
                    payload,
                    replay,
                    ack_handle,
                };
                work.send(item).await.context("the pipeline has ended")?;
            }
            let mut settled = Vec::with_capacity(count);
            while settled.len() < count {
                match outcomes.recv().await.context("the pipeline has ended")? {
                    Outcome::Settled(id) => settled.push(i64::try_from(id).unwrap_or_default()),
                    Outcome::NewerVersion(_, found) => {
                        anyhow::bail!("a batch has version {found}: a newer worker takes it");
                    }
                }
            }
            spool.remove(settled).await?;
        }
    };
    tokio::select! {
        drained = drained => match drained {
            Ok(()) => tracing::info!(waiting, "replayed dead letters are settled"),
            Err(error) => tracing::error!(%error, "replayed dead letters stay in the spool"),
        },
        // What is settled and not removed comes again, and is one point anyway.
        () = shutdown.cancelled() => {}
    }
    running.abort();
}

/// Lets the file go.
pub async fn close(spool: Option<Spool>) {
    if let Some(spool) = spool {
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, spool.close()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn workers_of_one_folder_get_a_file_each_unless_it_was_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = DeadLettersFile {
            path: folder.path().join("spool.db"),
            is_default: true,
        };
        let bytes_max = 4 << 20;
        let (first, path) = file.open(bytes_max).await.unwrap();
        assert_eq!(path, folder.path().join("spool.db"));
        let (second, path) = file.open(bytes_max).await.unwrap();
        assert_eq!(path, folder.path().join("spool-2.db"));
        file.is_default = false;
        let error = format!("{:#}", file.open(bytes_max).await.unwrap_err());
        assert!(error.contains("SPOOL_PATH of its own"), "{error}");
        close(Some(first)).await;
        close(Some(second)).await;
    }
}
