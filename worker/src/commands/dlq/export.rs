//! `dlq export`, `discard` and `restore`: dead letters as lines of a file.

use super::args::{DeadLetterFilter, StorePlace};
use super::dead_letter::{DeadLetter, Handle};
use super::progress;
use super::store::{Sender, Store};
use crate::commands::terminal::{confirmed, count_of};
use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// Dead letters that are written together before the disk is waited for.
const PAGE_DEAD_LETTERS: usize = 1_000;

/// Dead letters put back at one time.
const WINDOW_DEAD_LETTERS: usize = 256;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    id: String,
    headers: BTreeMap<String, String>,
    /// Base64.
    payload: String,
}

/// Writes the dead letters, and leaves them where they are.
pub(super) async fn export(
    place: &StorePlace,
    filter: &DeadLetterFilter,
    path: &Path,
) -> anyhow::Result<bool> {
    let mut store = Store::open(place).await?;
    let exported = write_out(&mut store, filter, path, false).await;
    store.close().await?;
    println!(
        "exported {} to {}",
        count_of(exported?, "dead letter"),
        path.display()
    );
    Ok(true)
}

/// Writes the dead letters, and takes them once they are on the disk.
pub(super) async fn discard(
    place: &StorePlace,
    filter: &DeadLetterFilter,
    path: &Path,
    yes: bool,
) -> anyhow::Result<bool> {
    let mut store = Store::open(place).await?;
    if !yes {
        let which = if filter.is_everything() {
            "all"
        } else {
            "those that match of"
        };
        let depth = count_of(store.depth().await?, "dead letter");
        let question = format!(
            "Discard {which} {depth}, after writing them to {}?",
            path.display()
        );
        if !confirmed(&question)? {
            store.close().await?;
            return Ok(false);
        }
    }
    let discarded = write_out(&mut store, filter, path, true).await;
    // What was taken is gone for certain when the store has closed in good order.
    store.close().await?;
    println!(
        "discarded {}; restore them with: worker dlq restore {}",
        count_of(discarded?, "dead letter"),
        path.display()
    );
    Ok(true)
}

async fn write_out(
    store: &mut Store,
    filter: &DeadLetterFilter,
    path: &Path,
    take: bool,
) -> anyhow::Result<u64> {
    // An older export may be the only copy of its dead letters.
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let file = file.with_context(|| format!("{} cannot be created", path.display()))?;
    let depth = store.depth().await?;
    let bar = progress::dead_letters(depth.min(filter.limit()), "exporting");
    let mut out = BufWriter::new(file);
    let mut page: Vec<Handle> = Vec::new();
    let (mut read, mut written) = (0, 0);
    while read < depth && written < filter.limit() {
        let Some(dead_letter) = store.next().await? else {
            break;
        };
        read += 1;
        if !filter.matches(&dead_letter) {
            continue;
        }
        serde_json::to_writer(&mut out, &line(&dead_letter))?;
        out.write_all(b"\n")?;
        written += 1;
        bar.inc(1);
        page.push(dead_letter.handle);
        if page.len() >= PAGE_DEAD_LETTERS {
            settle(store, &mut out, &mut page, take).await?;
        }
    }
    settle(store, &mut out, &mut page, take).await?;
    // The file's name is on the disk too, before anybody relies on it.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    bar.finish_and_clear();
    Ok(written)
}

/// On the disk first, then taken.
async fn settle(
    store: &mut Store,
    out: &mut BufWriter<File>,
    page: &mut Vec<Handle>,
    take: bool,
) -> anyhow::Result<()> {
    out.flush()?;
    out.get_ref().sync_all()?;
    for handle in page.drain(..) {
        if take {
            store.take(handle).await?;
        }
    }
    Ok(())
}

fn line(dead_letter: &DeadLetter) -> Line {
    Line {
        id: dead_letter.id.clone(),
        headers: dead_letter.headers.iter().cloned().collect(),
        payload: STANDARD.encode(&dead_letter.payload),
    }
}

/// Puts the dead letters of a file back. Restored twice, a dead letter is there twice (at the broker), and
/// replayed twice it is one point.
pub(super) async fn restore(place: &StorePlace, path: &Path) -> anyhow::Result<bool> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let lines = BufReader::new(file).lines();
    let store = Store::open(place).await?;
    let sender = store.sender().await?;
    let mut under_way = FuturesUnordered::new();
    let mut restored = 0;
    let mut failure = None;
    for (place, text) in lines.enumerate() {
        let parsed = text
            .map_err(anyhow::Error::from)
            .and_then(|text| parse(&text));
        match parsed.with_context(|| format!("line {}", place + 1)) {
            Ok(None) => continue,
            Ok(Some(line)) => under_way.push(put(sender.clone(), line)),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        if under_way.len() >= WINDOW_DEAD_LETTERS
            && let Some(done) = under_way.next().await
        {
            match done {
                Ok(()) => restored += 1,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
    }
    while let Some(done) = under_way.next().await {
        match done {
            Ok(()) => restored += 1,
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    drop(under_way);
    store.close().await?;
    println!("restored {}", count_of(restored, "dead letter"));
    match failure {
        None => Ok(true),
        Some(error) => Err(error.context("stopped; the file is as it was")),
    }
}

async fn put(sender: Sender, line: Line) -> anyhow::Result<()> {
    let payload = STANDARD
        .decode(&line.payload)
        .context("payload is not base64")?;
    sender
        .put(&line.id, line.headers.into_iter().collect(), payload.into())
        .await
}

fn parse(text: &str) -> anyhow::Result<Option<Line>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let line: Line = serde_json::from_str(text).context("not a dead letter")?;
    ensure!(
        STANDARD.decode(&line.payload).is_ok(),
        "payload is not base64"
    );
    Ok(Some(line))
}
