//! The thread that owns the connection: groups writes into transactions and answers.

use rusqlite::Result;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{OpenError, SpoolError, is_damage, is_disk_full};
use crate::job::{Command, Job};
use crate::open::{self, Access};
use crate::store::{Store, unsigned};
use crate::types::{OpenReport, SpoolOptions, SpoolStats};

/// Most jobs in one transaction.
const GROUP_JOBS_MAX: usize = 1_024;

/// A transaction takes no more jobs once it holds this much: what the WAL grows by at a time.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Damaged files moved aside in one run. More than this is a failing disk, and a new file for
/// every operation would only fill it.
const MOVED_ASIDE_MAX: u64 = 3;

/// Opens the file, says how that went, and works until the spool is closed or dropped.
pub(crate) fn run(
    options: SpoolOptions,
    access: Access,
    opened: oneshot::Sender<Result<OpenReport, OpenError>>,
    mut commands: mpsc::Receiver<Command>,
    stats: watch::Sender<SpoolStats>,
) {
    let (store, report) = match open::open(&options, access) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = opened.send(Err(error));
            return;
        }
    };
    let worker = Worker {
        options,
        access,
        store: Some(store),
        stats,
    };
    let moved_aside = u64::from(report.moved_aside.is_some());
    worker.publish(|stats| stats.moved_aside = moved_aside);
    let _ = opened.send(Ok(report));
    worker.run(&mut commands);
}

struct Worker {
    options: SpoolOptions,
    access: Access,
    /// None after a damaged file could not be replaced: every operation tries again.
    store: Option<Store>,
    stats: watch::Sender<SpoolStats>,
}

impl Worker {
    fn run(mut self, commands: &mut mpsc::Receiver<Command>) {
        let mut ahead = None;
        let mut vacuum = true;
        while let Some(command) = ahead.take().or_else(|| self.next(commands, &mut vacuum)) {
            match command {
                Command::Write(first) => {
                    let group;
                    (group, ahead) = gather(first, commands);
                    self.write(group);
                    vacuum = true;
                }
                Command::Read(mut job) => {
                    let result = self.attempt(|store| job.apply(store));
                    job.settle(result);
                }
                Command::Close(done) => {
                    commands.close();
                    drop(self.store.take());
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// The next command; gives free space back while there is none.
    fn next(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        vacuum: &mut bool,
    ) -> Option<Command> {
        while *vacuum {
            match commands.try_recv() {
                Ok(command) => return Some(command),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    let more = self.store.as_mut().map_or(Ok(false), Store::vacuum_step);
                    // Housekeeping: the next append meets the same error and says it.
                    *vacuum = more.unwrap_or(false);
                }
            }
        }
        commands.blocking_recv()
    }

    /// Commits a group; if that fails, each job on its own, so that one that cannot be done does
    /// not take the others with it.
    fn write(&mut self, mut group: Vec<Box<dyn Job>>) {
        let together = self.attempt(|store| {
            store.transaction(|store| group.iter_mut().try_for_each(|job| job.apply(store)))
        });
        let full = matches!(together, Err(SpoolError::DiskFull { .. }));
        if full && let Some(store) = self.store.as_mut() {
            store.checkpoint();
        }
        let results: Vec<_> = match together {
            Ok(()) => group.iter().map(|_| Ok(())).collect(),
            Err(error) if group.len() == 1 && !full => vec![Err(error)],
            Err(_) => group
                .iter_mut()
                .map(|job| self.attempt(|store| store.transaction(|store| job.apply(store))))
                .collect(),
        };
        let disk_full = results
            .iter()
            .any(|result| matches!(result, Err(SpoolError::DiskFull { .. })));
        self.publish(|stats| stats.disk_full = disk_full);
        for (job, result) in group.into_iter().zip(results) {
            job.settle(result);
        }
    }

    /// Runs `work`; on a damaged file, again on the one that takes its place.
    fn attempt(
        &mut self,
        mut work: impl FnMut(&mut Store) -> Result<()>,
    ) -> Result<(), SpoolError> {
        let result = work(self.store()?);
        match result {
            Err(error) if is_damage(&error) && self.may_replace() => {
                tracing::error!(%error, "the spool is damaged");
                self.replace()?;
                work(self.store()?).map_err(|error| self.error(error))
            }
            Err(error) => Err(self.error(error)),
            Ok(()) => Ok(()),
        }
    }

    fn error(&self, error: rusqlite::Error) -> SpoolError {
        if !is_disk_full(&error) {
            tracing::debug!(%error, "a spool operation failed");
        }
        SpoolError::from_sqlite(&self.options.path, error)
    }

    fn may_replace(&self) -> bool {
        self.access == Access::Producer && self.stats.borrow().moved_aside < MOVED_ASIDE_MAX
    }

    /// The store, opened again if it was lost.
    fn store(&mut self) -> Result<&mut Store, SpoolError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => open::open(&self.options, self.access)?.0,
        };
        Ok(self.store.insert(store))
    }

    /// Begins a new file in place of a damaged one, and counts what did not come along.
    fn replace(&mut self) -> Result<(), SpoolError> {
        let Some(damaged) = self.store.take() else {
            return Ok(());
        };
        // This closes the connection: the file must not be open while it is moved.
        let (next_id, held, before) = damaged.hand_over();
        self.stats.send_modify(|stats| stats.moved_aside += 1);
        let begun = open::begin_anew(&self.options);
        let after = begun.as_ref().map_or(0, |(store, _)| store.totals.events);
        let lost = unsigned(before.events - after);
        let (mut store, _) = begun?;
        store.take_over(next_id, held);
        self.store = Some(store);
        self.publish(|stats| stats.damaged_events_lost += lost);
        Ok(())
    }

    fn publish(&self, change: impl FnOnce(&mut SpoolStats)) {
        let mut stats = *self.stats.borrow();
        if let Some(store) = &self.store {
            stats = store.stats(stats);
        }
        change(&mut stats);
        self.stats.send_replace(stats);
    }
}

/// Takes the writes that queued up behind `first`, up to the bounds or to a command of another
/// kind, which is returned as the next to do.
fn gather(
    first: Box<dyn Job>,
    commands: &mut mpsc::Receiver<Command>,
) -> (Vec<Box<dyn Job>>, Option<Command>) {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while group.len() < GROUP_JOBS_MAX && bytes < GROUP_BYTES_MAX {
        match commands.try_recv() {
            Ok(Command::Write(job)) => {
                bytes += job.bytes();
                group.push(job);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}
