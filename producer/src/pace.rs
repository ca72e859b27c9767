//! The producer's one thread, and how often it looks at its sockets.
//!
//! Every look costs as much as several events do: a wake, a read, a turn of every task that waits.
//! While events come in numbers there are thousands of looks a second, each for a handful of them.
//! So after a look that brought many the thread sleeps for a moment, as a network card holds back
//! its interrupts, and the next brings more. What comes at a home's rate is not held up.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Events of one look from which on the next may wait: some thousand a second.
const MANY_EVENTS: u32 = 8;

/// Less than the time that a frame fills, so that a frame seldom waits for it.
const PAUSE: Duration = Duration::from_millis(4);

/// Taken since the thread looked last. There is one such thread in a process.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// An event was taken.
pub fn event_taken() {
    TAKEN.fetch_add(1, Ordering::Relaxed);
}

/// The runtime of one thread: at a home's rates the time of several goes into waking each other.
///
/// # Errors
/// The operating system has no thread or no file descriptor left.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(|| {
            if TAKEN.swap(0, Ordering::Relaxed) >= MANY_EVENTS {
                std::thread::sleep(PAUSE);
            }
        })
        .build()
}
