//! What processes use of the machine, from `/proc` (proc(5)).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use loadtest_report::Role;
use tokio::task::JoinHandle;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Processor time and memory of the watched processes, sampled until it is dropped.
#[derive(Debug)]
pub struct Usage {
    watched: Arc<Mutex<Vec<Watched>>>,
    load: Mutex<Load>,
    sampling: JoinHandle<()>,
}

/// When the load began, and when all of it was stored.
#[derive(Debug, Default)]
struct Load {
    begun: Option<Instant>,
    /// With the events that were sent until then.
    ended: Option<(Instant, u64)>,
}

#[derive(Debug)]
struct Watched {
    role: Role,
    pid: u32,
    running: bool,
    /// Processor time that was spent before the measured time began.
    ticks_before: u64,
    ticks: u64,
    /// When all events were stored.
    ticks_of_load: Option<u64>,
    rss_kib: u64,
    rss_kib_max: u64,
}

/// The use of the machine at one moment, for another task.
#[derive(Debug)]
pub struct UsageView {
    watched: Arc<Mutex<Vec<Watched>>>,
}

impl UsageView {
    /// Seconds of processor time of all processes of the role since [`Usage::begin`], and the
    /// megabytes of the largest that runs; `None` if none runs.
    pub fn now(&self, role: Role) -> Option<(f64, f64)> {
        let mut watched = lock(&self.watched);
        sample(&mut watched);
        let of_role = || watched.iter().filter(|one| one.role == role);
        let rss_kib = of_role()
            .filter(|one| one.running)
            .map(|one| one.rss_kib)
            .max()?;
        let ticks: u64 = of_role().map(|one| one.ticks - one.ticks_before).sum();
        Some((seconds(ticks), rss_kib as f64 * 1024.0 / 1e6))
    }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Sum of the processor times, and the largest memory of one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoleUsage {
    /// Seconds since [`Usage::begin`], until the processes ended.
    pub cpu_s: f64,
    /// Seconds since [`Usage::begin`], until [`Usage::end`].
    pub cpu_s_load: f64,
    /// Megabytes of 10^6 bytes.
    pub rss_mb_max: f64,
}

impl Usage {
    /// Begins to sample; must be called on a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let watched: Arc<Mutex<Vec<Watched>>> = Arc::default();
        let sampled = Arc::clone(&watched);
        let sampling = tokio::spawn(async move {
            loop {
                let looked = {
                    let mut watched = lock(&sampled);
                    sample(&mut watched);
                    u32::try_from(watched.len()).unwrap_or(u32::MAX)
                };
                // Of many processes seldomer: looking must not become a load of its own.
                tokio::time::sleep(SAMPLE_INTERVAL.max(POLL_INTERVAL * looked)).await;
            }
        });
        let usage = Self {
            watched,
            load: Mutex::default(),
            sampling,
        };
        usage.watch(Role::LoadTester, std::process::id());
        usage
    }

    /// Counts a process from its start on, or from the next [`Usage::begin`] on.
    pub fn watch(&self, role: Role, pid: u32) {
        let fresh = Watched {
            role,
            pid,
            running: true,
            ticks_before: 0,
            ticks: 0,
            ticks_of_load: None,
            rss_kib: 0,
            rss_kib_max: 0,
        };
        lock(&self.watched).push(fresh);
    }

    /// The process has ended: its number may be given to another.
    pub fn unwatch(&self, pid: u32) {
        let mut watched = lock(&self.watched);
        watched
            .iter_mut()
            .filter(|one| one.pid == pid)
            .for_each(|one| one.running = false);
    }

    /// The measured time begins: what was used so far does not count.
    pub fn begin(&self) {
        let mut watched = lock(&self.watched);
        sample(&mut watched);
        watched
            .iter_mut()
            .for_each(|one| one.ticks_before = one.ticks);
        self.load().begun = Some(Instant::now());
    }

    /// All of this many events are stored; the first call counts.
    pub fn end(&self, events: u64) {
        let mut load = self.load();
        if load.ended.is_some() {
            return;
        }
        load.ended = Some((Instant::now(), events));
        let mut watched = lock(&self.watched);
        sample(&mut watched);
        watched
            .iter_mut()
            .for_each(|one| one.ticks_of_load = Some(one.ticks));
    }

    /// Seconds from [`Usage::begin`] to [`Usage::end`].
    #[must_use]
    pub fn load_s(&self) -> Option<f64> {
        let load = self.load();
        let (ended, _) = load.ended?;
        Some(ended.duration_since(load.begun?).as_secs_f64())
    }

    /// Events of the load; others may have been sent behind it.
    #[must_use]
    pub fn load_events(&self) -> Option<u64> {
        self.load().ended.map(|(_, events)| events)
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks now.
    pub fn sample(&self) {
        sample(&mut lock(&self.watched));
    }

    /// For another task.
    pub fn view(&self) -> UsageView {
        UsageView {
            watched: Arc::clone(&self.watched),
        }
    }

    /// What the role used since [`Usage::begin`]; `None` if it has no process.
    #[must_use]
    pub fn of(&self, role: Role) -> Option<RoleUsage> {
        let watched = lock(&self.watched);
        let of_role: Vec<&Watched> = watched.iter().filter(|one| one.role == role).collect();
        let ticks: u64 = of_role.iter().map(|one| one.ticks - one.ticks_before).sum();
        let of_load = |one: &&Watched| {
            let ticks = one.ticks_of_load.unwrap_or(one.ticks_before);
            ticks.saturating_sub(one.ticks_before)
        };
        let ticks_of_load: u64 = of_role.iter().map(of_load).sum();
        let rss_kib_max = of_role.iter().map(|one| one.rss_kib_max).max()?;
        Some(RoleUsage {
            cpu_s: seconds(ticks),
            cpu_s_load: seconds(ticks_of_load),
            rss_mb_max: rss_kib_max as f64 * 1024.0 / 1e6,
        })
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.sampling.abort();
    }
}

/// Processors and memory of this machine, in words.
pub fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let gib = kib.unwrap_or_default() as f64 / f64::from(1 << 20);
    format!("{processors} processors, {gib:.0} GiB of memory")
}

/// Whether a process has ended, its status taken or not.
pub fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

fn lock(watched: &Mutex<Vec<Watched>>) -> MutexGuard<'_, Vec<Watched>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sample(watched: &mut [Watched]) {
    for one in watched.iter_mut().filter(|one| one.running) {
        if let Some(stat) = stat(one.pid) {
            let ticks = match one.role {
                // Its children are the others.
                Role::LoadTester => stat.own_ticks,
                _ => stat.ticks,
            };
            one.ticks = one.ticks.max(ticks);
        }
        if let Some((rss_kib, peak_kib)) = rss_kib(one.pid) {
            one.rss_kib = rss_kib;
            one.rss_kib_max = one.rss_kib_max.max(peak_kib);
        }
    }
}

struct Stat {
    state: char,
    /// With those of its children that have ended.
    ticks: u64,
    own_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and may hold anything, so the fields are counted from its end.
/// User and system time of the process, and of its children that have ended.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    let sum = |range: std::ops::Range<usize>| -> Option<u64> {
        let fields = fields.get(range)?.iter();
        Some(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
    };
    Some(Stat {
        state,
        ticks: sum(11..15)?,
        own_ticks: sum(11..13)?,
    })
}

/// Resident memory, and the kernel's own record of its peak, so that nothing falls between two
/// samples.
fn rss_kib(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((kib("VmRSS:")?, kib("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let text = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 40 2 300 1000 20 0 4 0 999 1 2";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.ticks, stat.own_ticks), ('S', 1_342, 42));
        assert!(parse_stat("77 (a").is_none());
    }

    #[tokio::test]
    async fn this_process_is_seen_to_work() {
        let usage = Usage::start();
        assert!(usage.of(Role::Worker).is_none());
        usage.watch(Role::Worker, std::process::id());
        usage.begin();
        // A busy machine gives this process little of its time.
        let begun = Instant::now();
        let mut sum = 0_u64;
        let used = loop {
            for _ in 0..1_000_000 {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            usage.sample();
            let used = usage.of(Role::Worker).unwrap();
            if used.cpu_s > 0.02 {
                break used;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{used:?}");
        };
        assert!(used.rss_mb_max > 1.0, "{used:?}");
        assert_eq!((used.cpu_s_load, usage.load_s()), (0.0, None), "it lasts");
        usage.end(7);
        assert_eq!(usage.load_events(), Some(7));
        let used = usage.of(Role::Worker).unwrap();
        assert!(used.cpu_s_load > 0.02 && usage.load_s() > Some(0.0));
        assert!(!has_ended(std::process::id()));
    }
}
