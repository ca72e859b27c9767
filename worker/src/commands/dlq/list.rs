//! `dlq list`.

use super::args::{DeadLetterFilter, StorePlace};
use super::dead_letter::DeadLetter;
use super::progress;
use super::store::Store;
use crate::commands::moment::{to_microsecond, to_second};
use crate::commands::terminal::{count_of, cut};
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

/// Dead letters of more causes than this are counted together.
const GROUPS_MAX: usize = 10_000;

const ERROR_WIDTH: usize = 90;
const SUBJECT_WIDTH: usize = 34;

/// Prints the dead letters.
pub(super) async fn list(
    place: &StorePlace,
    filter: &DeadLetterFilter,
    group: bool,
    json: bool,
) -> anyhow::Result<bool> {
    let mut store = Store::open(place).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let listed = if group {
        grouped(&mut store, filter, json, &mut out).await
    } else {
        each(&mut store, filter, json, &mut out).await
    };
    let flushed = out.flush();
    // Before anything else: the dead letters are given back whatever went wrong.
    store.close().await?;
    listed?;
    flushed?;
    Ok(true)
}

async fn each(
    store: &mut Store,
    filter: &DeadLetterFilter,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (mut shown, mut all) = (0_u64, 0_u64);
    while shown < filter.limit()
        && let Some(dead_letter) = store.next().await?
    {
        all += 1;
        if !filter.matches(&dead_letter) {
            continue;
        }
        if json {
            writeln!(out, "{}", dead_letter.to_json())?;
        } else {
            if shown == 0 {
                writeln!(
                    out,
                    "{:<19}  {:<13}  {:<SUBJECT_WIDTH$}  {:>7}  {:<12}  ERROR",
                    "FAILED (UTC)", "REASON", "ENTITY", "REPLAYS", "ID"
                )?;
            }
            write_row(out, &dead_letter)?;
        }
        shown += 1;
    }
    if !json {
        match (shown, shown == all) {
            (0, true) => writeln!(out, "no dead letters")?,
            (_, true) => writeln!(out, "{}", count_of(shown, "dead letter"))?,
            _ => writeln!(out, "{} of {all} looked at", count_of(shown, "dead letter"))?,
        }
    }
    Ok(())
}

fn write_row(out: &mut impl Write, dead_letter: &DeadLetter) -> io::Result<()> {
    writeln!(
        out,
        "{:<19}  {:<13}  {:<SUBJECT_WIDTH$}  {:>7}  {:<12}  {}",
        to_second(dead_letter.failed_at_ns),
        dead_letter.reason,
        cut(&dead_letter.subject_and_more(), SUBJECT_WIDTH),
        dead_letter.replays,
        dead_letter.short_id(),
        cut(&dead_letter.error, ERROR_WIDTH),
    )
}

/// Dead letters that failed for one cause.
struct Group {
    count: u64,
    first_ns: i64,
    last_ns: i64,
    example: Example,
}

struct Example {
    reason: String,
    stage: String,
    error: String,
    subject: String,
    short_id: String,
}

async fn grouped(
    store: &mut Store,
    filter: &DeadLetterFilter,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let bar = progress::dead_letters(store.depth().await?, "reading");
    let mut groups: HashMap<String, Group> = HashMap::new();
    let (mut all, mut in_more_groups) = (0_u64, 0_u64);
    while all < filter.limit()
        && let Some(dead_letter) = store.next().await?
    {
        bar.inc(1);
        if !filter.matches(&dead_letter) {
            continue;
        }
        all += 1;
        let failed_at_ns = dead_letter.failed_at_ns;
        if let Some(group) = groups.get_mut(&dead_letter.fingerprint) {
            group.count += 1;
            group.first_ns = group.first_ns.min(failed_at_ns);
            group.last_ns = group.last_ns.max(failed_at_ns);
        } else if groups.len() < GROUPS_MAX {
            let example = Example {
                short_id: dead_letter.short_id().to_owned(),
                subject: dead_letter.subject_and_more(),
                reason: dead_letter.reason,
                stage: dead_letter.stage,
                error: dead_letter.error,
            };
            let (first_ns, last_ns) = (failed_at_ns, failed_at_ns);
            groups.insert(
                dead_letter.fingerprint,
                Group {
                    count: 1,
                    first_ns,
                    last_ns,
                    example,
                },
            );
        } else {
            in_more_groups += 1;
        }
    }
    bar.finish_and_clear();
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.count.cmp(&a.1.count).then_with(|| a.0.cmp(&b.0)));
    if json {
        for (fingerprint, group) in &groups {
            writeln!(out, "{}", to_json(fingerprint, group))?;
        }
        return Ok(());
    }
    if !groups.is_empty() {
        writeln!(
            out,
            "{:>8}  {:<19}  {:<19}  {:<13}  {:<16}  EXAMPLE",
            "LETTERS", "FIRST (UTC)", "LAST (UTC)", "REASON", "FINGERPRINT"
        )?;
    }
    for (fingerprint, group) in &groups {
        let example = &group.example;
        writeln!(
            out,
            "{:>8}  {:<19}  {:<19}  {:<13}  {:<16}  {} {}: {}",
            group.count,
            to_second(group.first_ns),
            to_second(group.last_ns),
            example.reason,
            fingerprint,
            example.short_id,
            cut(&example.subject, SUBJECT_WIDTH),
            cut(&example.error, ERROR_WIDTH),
        )?;
    }
    if in_more_groups > 0 {
        writeln!(
            out,
            "{} of more than {GROUPS_MAX} other causes",
            count_of(in_more_groups, "dead letter")
        )?;
    }
    let count = groups.len() as u64;
    writeln!(
        out,
        "{} in {}",
        count_of(all, "dead letter"),
        count_of(count, "group")
    )?;
    Ok(())
}

fn to_json(fingerprint: &str, group: &Group) -> serde_json::Value {
    json!({
        "fingerprint": fingerprint,
        "letters": group.count,
        "first_failed_at": to_microsecond(group.first_ns),
        "last_failed_at": to_microsecond(group.last_ns),
        "reason": group.example.reason,
        "stage": group.example.stage,
        "example": {
            "id": group.example.short_id,
            "entity": group.example.subject,
            "error": group.example.error,
        },
    })
}
