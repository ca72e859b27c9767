//! `dlq replay`.

use super::args::{DeadLetterFilter, StorePlace};
use super::dead_letter::{DeadLetter, Handle};
use super::progress;
use super::store::{Sender, Store};
use super::today::{Today, today};
use crate::commands::moment::now_ns;
use crate::commands::terminal::{confirmed, count_of, cut};
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_enrich::Options;
use std::io::{self, BufWriter, Write};
use std::time::Duration;
use tokio::time::Instant;

/// Dead letters under way at one time; also what Ctrl-C waits for.
const WINDOW_DEAD_LETTERS: usize = 256;

/// Says of every dead letter what today's code makes of it.
pub(super) async fn dry_run(
    place: &StorePlace,
    filter: &DeadLetterFilter,
    options: &Options,
) -> anyhow::Result<bool> {
    let mut store = Store::open(place).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let told = tell(&mut store, filter, options, &mut out).await;
    let flushed = out.flush();
    store.close().await?;
    told?;
    flushed?;
    Ok(true)
}

async fn tell(
    store: &mut Store,
    filter: &DeadLetterFilter,
    options: &Options,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut good, mut bad) = (0_u64, 0_u64);
    while good + bad < filter.limit()
        && let Some(dead_letter) = store.next().await?
    {
        if !filter.matches(&dead_letter) {
            continue;
        }
        let verdict = today(&dead_letter, options);
        *(if matches!(verdict, Today::Points(_)) {
            &mut good
        } else {
            &mut bad
        }) += 1;
        let subject = cut(&dead_letter.subject_and_more(), 34);
        writeln!(
            out,
            "{:<12}  {subject:<34}  {verdict}",
            dead_letter.short_id()
        )?;
    }
    writeln!(
        out,
        "dry run: {} would become points, {} would fail again; nothing was sent, and the database \
         was not asked",
        count_of(good, "dead letter"),
        count_of(bad, "dead letter"),
    )?;
    Ok(())
}

/// Sends the dead letters again.
pub(super) async fn replay(
    place: &StorePlace,
    filter: &DeadLetterFilter,
    rate: Option<u32>,
    yes: bool,
) -> anyhow::Result<bool> {
    let mut store = Store::open(place).await?;
    let depth = store.depth().await?;
    if !yes {
        let which = if filter.is_everything() {
            "all"
        } else {
            "those that match of"
        };
        if !confirmed(&format!(
            "Replay {which} {}?",
            count_of(depth, "dead letter")
        ))? {
            store.close().await?;
            return Ok(false);
        }
    }
    // From here on Ctrl-C lets what is under way come to its end.
    let interrupted = ha_telemetry::shutdown_token()?;
    let sender = store.sender().await?;
    let waits_for_producer = sender.waits_for_producer();
    let mut run = Run {
        under_way: FuturesUnordered::new(),
        sender,
        began_ns: now_ns(),
        bar: progress::dead_letters(depth.min(filter.limit()), "replaying"),
        done: 0,
        left: 0,
        failure: None,
    };
    let pace = rate.map(|rate| Duration::from_secs(1) / rate.max(1));
    let end = run.go(&mut store, filter, depth, pace, &interrupted).await;
    // Whatever ended it, what was published must be taken.
    while let Some((handle, sent)) = run.under_way.next().await {
        run.settle(&mut store, handle, sent).await;
    }
    run.bar.finish_and_clear();
    let closed = store.close().await;
    println!("replayed {}", count_of(run.done, "dead letter"));
    if waits_for_producer && run.done > 0 {
        println!("they are in the spool, first in line when a producer is started on it");
    }
    if run.left > 0 {
        println!(
            "{} stay: a newer version wrote them, or they are no batches",
            count_of(run.left, "dead letter")
        );
    }
    if let Some(failure) = run.failure {
        return Err(failure.context("stopped; all others are where they were"));
    }
    let end = end?;
    closed?;
    match end {
        End::Done => Ok(true),
        End::Again => {
            println!("stopped at a dead letter that failed after this replay began");
            Ok(true)
        }
        End::Interrupted => {
            println!("interrupted: all others are where they were; the same command goes on");
            Ok(false)
        }
    }
}

enum End {
    Done,
    /// The next dead letters failed after the beginning, perhaps because they were replayed.
    Again,
    Interrupted,
}

type Sent = (Handle, anyhow::Result<()>);

struct Run<F> {
    under_way: FuturesUnordered<F>,
    sender: Sender,
    began_ns: i64,
    bar: indicatif::ProgressBar,
    done: u64,
    left: u64,
    failure: Option<anyhow::Error>,
}

impl Run<futures_util::future::BoxFuture<'static, Sent>> {
    async fn go(
        &mut self,
        store: &mut Store,
        filter: &DeadLetterFilter,
        depth: u64,
        pace: Option<Duration>,
        interrupted: &tokio_util::sync::CancellationToken,
    ) -> anyhow::Result<End> {
        let mut due = Instant::now();
        let (mut read, mut sent) = (0, 0);
        // Dead letters that come in meanwhile are behind those that were there: the queue is in order.
        while read < depth && sent < filter.limit() {
            while let Some((handle, outcome)) = self.next_settled().await {
                self.settle(store, handle, outcome).await;
            }
            if self.failure.is_some() {
                break;
            }
            if interrupted.is_cancelled() {
                return Ok(End::Interrupted);
            }
            let Some(dead_letter) = store.next().await? else {
                break;
            };
            read += 1;
            if dead_letter.failed_at_ns > self.began_ns {
                return Ok(End::Again);
            }
            if !filter.matches(&dead_letter) {
                continue;
            }
            // A newer batch would make every older worker pause; the spool holds only batches.
            if dead_letter.newer_version.is_some()
                || (self.sender.waits_for_producer() && dead_letter.events.is_empty())
            {
                self.left += 1;
                continue;
            }
            if let Some(pace) = pace {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = interrupted.cancelled() => return Ok(End::Interrupted),
                }
                due = due.max(Instant::now() - pace) + pace;
            }
            sent += 1;
            self.send(dead_letter);
        }
        Ok(End::Done)
    }

    fn send(&mut self, dead_letter: DeadLetter) {
        let sender = self.sender.clone();
        let sending = async move { (dead_letter.handle, sender.replay(&dead_letter).await) };
        self.under_way.push(sending.boxed());
    }

    /// One that has ended; waits for it only while the window is full.
    async fn next_settled(&mut self) -> Option<Sent> {
        if self.under_way.len() >= WINDOW_DEAD_LETTERS {
            return self.under_way.next().await;
        }
        self.under_way.next().now_or_never().flatten()
    }

    /// Takes a dead letter whose batch is safe.
    async fn settle(&mut self, store: &mut Store, handle: Handle, sent: anyhow::Result<()>) {
        let taken = match sent {
            Ok(()) => store.take(handle).await,
            Err(error) => Err(error),
        };
        match taken {
            Ok(()) => {
                self.done += 1;
                self.bar.inc(1);
            }
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }
}
