//! The producer's one thread, and how often it looks at its sockets.
//!
//! Every look costs as much as several events do: a wake, a read, a turn of every task that waits,
//! and a frame with all that it costs broker and workers. So after a look that brought events the
//! thread sleeps, as a network card holds back its interrupts, and the next look brings more: what
//! came meanwhile, and the broker's confirms. It sleeps for as long as a frame fills; at the rate of
//! a home, where that would bring an event or none, until some are to be expected, ten times as
//! long at most. What comes after a silence is not held up.

use ha_settings::FramingSettings;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// A look should bring so many events.
const EVENTS: u32 = 4;

/// It is waited for them for so many times the age of a frame at most …
const AGES_MAX: u32 = 10;

/// … and never longer than this: the thread answers health checks and heartbeats, too.
const PAUSE_MAX: Duration = Duration::from_millis(160);

/// After so long without an event nothing is known of the rate.
const SILENCE: Duration = Duration::from_secs(1);

/// Taken since the thread looked last. There is one such thread in a process.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// An event was taken.
pub fn event_taken() {
    TAKEN.fetch_add(1, Ordering::Relaxed);
}

/// The runtime of one thread: at a home's rates the time of several goes into waking each other.
/// A frame fills for its age, unless it is full; no age lets the thread look whenever there is
/// something.
///
/// # Errors
/// The operating system has no thread or no file descriptor left.
pub fn runtime(frames: &FramingSettings) -> std::io::Result<Runtime> {
    let (age, events_max) = (frames.age_max, frames.events_max);
    let (begun, last_us) = (Instant::now(), AtomicU64::new(0));
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || {
            let taken = TAKEN.swap(0, Ordering::Relaxed);
            if taken > 0 {
                let now_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                let since_us = now_us.saturating_sub(last_us.swap(now_us, Ordering::Relaxed));
                let since = Duration::from_micros(since_us);
                std::thread::sleep(pause(age, events_max, since, taken));
            }
        })
        .build()
}

/// How long to sleep after a look that brought so many events, so long after the last that did. At
/// high rates no more events come in it than a frame has: Home Assistant cuts off a client that
/// leaves too much in its socket.
fn pause(age: Duration, events_max: usize, since: Duration, taken: u32) -> Duration {
    let until = |events: u32| since.saturating_mul(events) / taken.max(1);
    let ages = if since > SILENCE { 1 } else { AGES_MAX };
    let longest = PAUSE_MAX.min(age * ages);
    let events_max = u32::try_from(events_max).unwrap_or(u32::MAX);
    let pause = until(EVENTS).clamp(age.min(longest), longest);
    pause.min(until(events_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_brings_some_events_and_never_waits_long() {
        let pause_ms = |age_ms, since_ms, taken| {
            let ms = Duration::from_millis;
            pause(ms(age_ms), 250, ms(since_ms), taken).as_millis()
        };
        // A thousand a second: those of a frame's age are more than four.
        assert_eq!(pause_ms(16, 16, 16), 16);
        // A hundred a second: four of them.
        assert_eq!(pause_ms(16, 40, 4), 40);
        assert_eq!(pause_ms(16, 60, 6), 40);
        // A home's rate, and the first after a night.
        assert_eq!(pause_ms(16, 160, 3), 160);
        assert_eq!(pause_ms(16, 40_000_000, 1), 16);
        // Fifty thousand a second: no more than a frame holds. A gust.
        assert_eq!(pause_ms(16, 5, 250), 5);
        assert_eq!(pause_ms(16, 160, 5_000), 8);
        assert_eq!(pause_ms(2, 100, 1), 20);
        assert_eq!(pause_ms(0, 100, 1), 0);
        // Frames of a second, and still a look now and then.
        assert_eq!(pause_ms(1_000, 100, 20), 160);
    }
}
