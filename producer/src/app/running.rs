//! The running producer, and how it ends.

use crate::receive::marks::write_mark;
use futures_util::future::BoxFuture;
use ha_broker::Claim;
use ha_spool::Spool;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The running producer.
pub struct Running {
    /// Ends when everything that was received is safe.
    pub batching: BoxFuture<'static, anyhow::Result<()>>,
    pub reading: JoinHandle<()>,
    /// What runs beside the stream.
    pub beside: JoinSet<()>,
    pub spool: Spool,
    pub mark: watch::Receiver<Option<i64>>,
    pub admin: JoinHandle<()>,
    pub stop_admin: CancellationToken,
    pub claim: Option<Claim>,
    /// Ends, with an error, when another producer of this home has taken its place.
    pub superseded: Option<JoinHandle<anyhow::Result<()>>>,
    /// Cancelled by a shutdown, and when the place is lost.
    pub stop: CancellationToken,
    pub grace: Duration,
}

impl Running {
    /// Runs until it is stopped, then ends its parts in this order:
    ///
    /// 1. the source cancels its subscriptions and hands on what Home Assistant had sent (`stop`);
    /// 2. the batcher sends what it holds and waits until all of it is safe, within the grace;
    /// 3. what runs beside the stream;
    /// 4. the watermark is written, and the spool closed;
    /// 5. health, metrics and status;
    /// 6. the home's name at the broker is given back, so that a standby begins when all is written.
    pub async fn drain(mut self) -> anyhow::Result<()> {
        let finished = within_grace(self.batching, &self.stop, self.grace).await;
        self.reading.abort();
        self.beside.shutdown().await;
        let last_mark = *self.mark.borrow();
        write_mark(&self.spool, last_mark).await;
        self.spool.close().await;
        self.stop_admin.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.admin).await;
        if let Some(claim) = self.claim {
            claim.release().await;
        }
        match self.superseded {
            Some(superseded) if superseded.is_finished() => finished.and(superseded.await?),
            _ => finished,
        }
    }
}

/// Waits for the batcher; after `shutdown` no longer than the grace.
async fn within_grace(
    batching: impl Future<Output = anyhow::Result<()>>,
    shutdown: &CancellationToken,
    grace: Duration,
) -> anyhow::Result<()> {
    let grace_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        finished = batching => {
            finished?;
            tracing::info!("stopped; everything received is delivered, or in the spool");
        }
        () = grace_over => {
            tracing::error!("the grace is over before everything received could be delivered");
        }
    }
    Ok(())
}
