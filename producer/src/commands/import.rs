//! `producer import`: a file of captured messages through the same stages, the same
//! broker or the same workers.
//!
//! The file is read by a thread of its own, which waits when the way is behind: memory holds a few
//! dozen batches whatever the file's size. Nothing is kept beside the file: what cannot be imported
//! is reported by its line, and the whole can be repeated, because the same event written twice is
//! one point.

mod destination;
mod lines;
mod progress;
mod way;

use crate::config::{Mode, ServiceArgs};
use anyhow::{Context, bail};
use clap::Args;
use destination::{BATCHES_UNDER_WAY_MAX, Destination};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_enrich::Depth;
use ha_filter::Filter;
use ha_settings::{
    AttributeArgs, BatchingArgs, BatchingSettings, BrokerArgs, FilterArgs, InstanceArgs, LogArgs,
    LogFormat, Problems, SinkArgs, TlsArgs, TlsSettings, WriteBatchArgs,
};
use lines::{LineBatch, Reader};
use progress::{BadLines, Progress};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use way::Way;

/// Batches read and not yet on their way.
const BATCHES_READ_MAX: usize = 8;

/// The import gives up when nothing was delivered for this long.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// How long deliveries under way may take after an interruption.
const GRACE: Duration = Duration::from_secs(5);

/// Settings of `producer import`, as given.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Captured WebSocket messages, arrays of them, or bare events; one a line
    #[arg(long, value_name = "FILE")]
    jsonl: PathBuf,
    /// Where events are enriched: inline (in this process), queue (RabbitMQ and workers), service
    /// (workers over HTTP), or disabled (plain mapping, in this process)
    #[arg(
        long,
        env = "ENRICHMENT_MODE",
        default_value = "inline",
        value_name = "inline|queue|service|disabled"
    )]
    enrichment_mode: String,
    #[command(flatten)]
    instance: InstanceArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    sink: SinkArgs,
    #[command(flatten)]
    batching: BatchingArgs,
    #[command(flatten)]
    batch: WriteBatchArgs,
    #[command(flatten)]
    attributes: AttributeArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Settings of `producer import`, checked.
#[derive(Debug)]
struct Import {
    jsonl: PathBuf,
    instance: String,
    filter: Filter,
    batching: BatchingSettings,
    destination: Destination,
    tls: TlsSettings,
}

impl ImportArgs {
    fn resolve(&self, problems: &mut Problems) -> Option<Import> {
        // The certificates are read here, and need the process's one crypto provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mode = Mode::read(&self.enrichment_mode, problems);
        if !self.jsonl.is_file() {
            let path = self.jsonl.display().to_string();
            problems.bad("--jsonl", &path, "a file that exists");
        }
        let instance = self.instance.resolve(problems);
        let filter = self.filter.resolve(problems);
        let batching = self.batching.resolve(problems);
        let destination = mode.and_then(|mode| self.destination(mode, &batching, problems));
        let tls = self.tls.resolve(problems);
        Some(Import {
            jsonl: self.jsonl.clone(),
            instance,
            filter: filter?,
            batching,
            destination: destination?,
            tls: tls?,
        })
    }

    fn destination(
        &self,
        mode: Mode,
        batching: &BatchingSettings,
        problems: &mut Problems,
    ) -> Option<Destination> {
        let depth = match mode {
            Mode::Queue => return self.broker.resolve(problems).map(Destination::Broker),
            Mode::Service => {
                let workers = self.service.resolve(batching, problems);
                return workers.map(Destination::Service);
            }
            Mode::Disabled => Depth::Plain,
            Mode::Inline => Depth::Full,
        };
        let sink = self.sink.resolve(problems, true);
        let batch = self.batch.resolve(problems);
        let attributes = self.attributes.resolve(problems);
        let enrichment = Box::new(attributes.enrichment(depth));
        Some(Destination::Sink {
            sink: sink?,
            batch,
            enrichment,
        })
    }
}

/// Runs the command: 0 when every line was good, 1 otherwise, 2 for bad settings.
pub fn run(args: &ImportArgs) -> ExitCode {
    let mut problems = Problems::default();
    let format = args.log.resolve(&mut problems);
    let import = args.resolve(&mut problems);
    let Some(import) = import.filter(|_| problems.is_empty()) else {
        return ha_settings::exit_with_problems(&problems);
    };
    if let Err(error) = ha_telemetry::init_logs(format == LogFormat::Json, &args.log.log) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    match import_all(import) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The number of bad lines.
#[tokio::main]
async fn import_all(import: Import) -> anyhow::Result<u64> {
    let stop = ha_telemetry::shutdown_token()?;
    let began = Instant::now();
    let way = Arc::new(
        Way::open(
            &import.destination,
            &import.instance,
            &import.tls,
            import.batching.compress_bytes_min,
        )
        .await?,
    );
    let file = std::fs::File::open(&import.jsonl)
        .with_context(|| format!("{} cannot be read", import.jsonl.display()))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let progress = Arc::new(Progress::new(bytes));
    let bad = Arc::new(BadLines::new(Arc::clone(&progress)));
    let (batches, read) = mpsc::channel(BATCHES_READ_MAX);
    let reader = Reader {
        instance: import.instance,
        filter: import.filter,
        limits: import.batching,
        batches,
        progress: Arc::clone(&progress),
        bad: Arc::clone(&bad),
    };
    let reading = tokio::task::spawn_blocking(move || reader.read(file));
    let delivered = deliver_all(read, &way, &progress, &bad, &stop).await;
    let read = reading.await.context("the reader")?;
    progress.finish();
    bad.say_rest();
    delivered?;
    if stop.is_cancelled() {
        bail!(
            "interrupted after line {}; import the file again, what is stored already stays as it is",
            progress.lines()
        );
    }
    read.with_context(|| format!("{} cannot be read", import.jsonl.display()))?;
    println!("{}", progress.summary(began.elapsed(), bad.count()));
    Ok(bad.count())
}

/// Sees every batch to its end, several at a time.
async fn deliver_all(
    mut read: mpsc::Receiver<LineBatch>,
    way: &Arc<Way>,
    progress: &Progress,
    bad: &BadLines,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut under_way = FuturesUnordered::new();
    let mut last_delivery = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let (mut ended, mut interrupted) = (false, None);
    while !(ended && under_way.is_empty()) {
        tokio::select! {
            batch = read.recv(), if !ended && under_way.len() < BATCHES_UNDER_WAY_MAX => match batch {
                Some(batch) => {
                    if under_way.is_empty() {
                        last_delivery = Instant::now();
                    }
                    let way = Arc::clone(way);
                    under_way.push(async move { way.deliver(batch).await });
                }
                None => ended = true,
            },
            Some(delivered) = under_way.next(), if !under_way.is_empty() => {
                last_delivery = Instant::now();
                progress.imported(delivered.events - delivered.refused.len() as u64);
                for (line, reason) in delivered.refused {
                    bad.report(line, &reason);
                }
            }
            _ = ticks.tick() => {
                progress.tick();
                if interrupted.is_some_and(|at: Instant| at.elapsed() > GRACE) {
                    return Ok(());
                }
                if !under_way.is_empty() && last_delivery.elapsed() > STALLED_MAX {
                    bail!("nothing was delivered for {} s: {}", STALLED_MAX.as_secs(), way.reason());
                }
            }
            // The reader sees that nobody takes batches any more.
            () = stop.cancelled(), if interrupted.is_none() => {
                interrupted = Some(Instant::now());
                read.close();
                ended = true;
            }
        }
    }
    Ok(())
}
