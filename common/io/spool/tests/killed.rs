//! `kill -9` at random moments: whatever was acknowledged before is there afterwards.
//!
//! The test re-executes itself as the process that is killed. That process appends batches of
//! known content and removes some, from several tasks at once, and says on its output what was
//! acknowledged: `+ID NUMBER` for an append, `?ID` before a removal is asked for, `-ID` after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ha_spool::{OpenError, Spool, SpoolBatch, SpoolOptions};
use rand::rngs::StdRng;
use rand::{Rng, RngCore as _, SeedableRng as _};

const ROUNDS: u32 = 20;
const TASKS: u32 = 8;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut arguments = std::env::args().skip(1);
    match (
        arguments.next().as_deref(),
        arguments.next(),
        arguments.next(),
    ) {
        (Some("append"), Some(path), Some(first)) => {
            runtime.block_on(append(path.into(), first.parse()?))
        }
        _ => runtime.block_on(kill_and_look()),
    }
}

fn options(path: PathBuf) -> SpoolOptions {
    SpoolOptions::new(path, 1 << 30)
}

/// Sizes from one page to many, so that kills fall into all kinds of writes.
fn batch(number: u32) -> SpoolBatch {
    let bytes = [100, 1_000, 10_000, 100_000][number as usize % 4];
    // Four that cannot be compressed, four that can.
    let mut payload = vec![number as u8; bytes];
    if (number / 4).is_multiple_of(2) {
        StdRng::seed_from_u64(u64::from(number)).fill_bytes(&mut payload);
    }
    SpoolBatch {
        payload: payload.into(),
        events: 1,
        oldest_ns: i64::from(number),
        written_direct: false,
    }
}

/// The process that is killed.
async fn append(path: PathBuf, first: u32) -> Result<()> {
    let spool = Spool::open(options(path)).await?.spool;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let spool = spool.clone();
        tasks.spawn(async move {
            for number in (first + task..).step_by(TASKS as usize) {
                let id = spool.append(batch(number)).await?.id;
                say(&format!("+{id} {number}\n"))?;
                if number % 3 == 0 {
                    say(&format!("?{id}\n"))?;
                    spool.remove(vec![id]).await?;
                    say(&format!("-{id}\n"))?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}

/// One write a line: what is in the pipe outlives the process.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

/// What the killed process said.
#[derive(Default)]
struct Said {
    /// Id to number of the batches that must be there.
    kept: BTreeMap<i64, u32>,
    /// Batches that may be there or not: their removal was asked for and not acknowledged.
    leaving: BTreeSet<i64>,
    /// Batches that must not be there.
    removed: BTreeSet<i64>,
    lines: u32,
}

impl Said {
    fn line(&mut self, line: &str) -> Result<()> {
        self.lines += 1;
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        match (kind, rest.split_once(' ')) {
            ("+", Some((id, number))) => {
                ensure!(
                    self.kept.insert(id.parse()?, number.parse()?).is_none(),
                    "id {id} twice"
                );
            }
            ("?", None) => {
                self.kept.remove(&rest.parse()?);
                self.leaving.insert(rest.parse()?);
            }
            ("-", None) => {
                self.leaving.remove(&rest.parse()?);
                self.removed.insert(rest.parse()?);
            }
            _ => bail!("the child said {line:?}"),
        }
        Ok(())
    }

    /// Reads whole lines until there are `lines_max` or the process is gone.
    fn read(&mut self, output: &mut BufReader<ChildStdout>, lines_max: u32) -> Result<()> {
        let mut line = String::new();
        while self.lines < lines_max && output.read_line(&mut line)? > 0 {
            if line.ends_with('\n') {
                self.line(line.trim_end())?;
            }
            line.clear();
        }
        Ok(())
    }
}

async fn kill_and_look() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("spool.db");
    let mut rng = rand::rng();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut said = Said::default();
        let (mut child, mut output) = start(&path, round * 1_000_000)?;
        let lines_max = rng.random_range(1..400);
        said.read(&mut output, lines_max)?;
        if round == 0 {
            in_use(&path).await?;
        }
        // Lands anywhere in a transaction, a sync or a checkpoint.
        std::thread::sleep(Duration::from_micros(rng.random_range(0..5_000)));
        child.kill()?;
        child.wait()?;
        said.read(&mut output, u32::MAX)?;
        ensure!(
            said.lines >= lines_max,
            "round {round}: the child ended by itself"
        );
        acknowledged += said.kept.len() + said.removed.len();
        look(&path, &said)
            .await
            .with_context(|| format!("round {round}"))?;
    }
    println!("killed {ROUNDS} times, {acknowledged} acknowledged batches accounted for");
    Ok(())
}

fn start(path: &Path, first: u32) -> Result<(Child, BufReader<ChildStdout>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("append")
        .arg(path)
        .arg(first.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    Ok((child, BufReader::new(output)))
}

/// While the other process lives, the spool is its own.
async fn in_use(path: &Path) -> Result<()> {
    for attempt in [
        Spool::open(options(path.to_owned())).await,
        Spool::open_existing(options(path.to_owned())).await,
    ] {
        match attempt {
            Err(OpenError::InUse { .. }) => {}
            other => bail!("opened twice: {other:?}"),
        }
    }
    Ok(())
}

/// Opens the spool, compares it with what was said, and empties it for the next round.
async fn look(path: &Path, said: &Said) -> Result<()> {
    let opened = Spool::open(options(path.to_owned())).await?;
    ensure!(
        opened.report.moved_aside.is_none(),
        "taken for damaged: {:?}",
        opened.report
    );
    let spool = opened.spool;
    let mut missing = said.kept.clone();
    let mut last = 0;
    loop {
        let page = spool.oldest(last, 100, 1 << 20).await?;
        let Some(newest) = page.last() else { break };
        ensure!(newest.id > last, "out of order");
        last = newest.id;
        for found in &page {
            let number = u32::try_from(found.batch.oldest_ns)?;
            ensure!(
                found.batch == batch(number),
                "batch {number} has another content"
            );
            ensure!(
                !said.removed.contains(&found.id),
                "batch {number} was removed"
            );
            let expected = missing.remove(&found.id);
            ensure!(
                expected.is_none_or(|expected| expected == number),
                "batch {number} moved"
            );
        }
        spool
            .remove(page.iter().map(|batch| batch.id).collect())
            .await?;
    }
    ensure!(
        missing.is_empty(),
        "acknowledged and not there: {missing:?}"
    );
    ensure!(spool.stats().batches == 0, "not empty: {:?}", spool.stats());
    spool.close().await;
    Ok(())
}
