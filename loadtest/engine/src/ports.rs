//! Ports for what a run starts.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::bail;

/// Ports of admin addresses; the private services have theirs above, both below the ephemeral
/// range.
const PORTS: std::ops::Range<u16> = 20_000..25_600;

/// A free port; a process is never given the same one twice. The search begins at
/// a place that depends on the process: load tests side by side seldom meet.
///
/// # Errors
/// When all of them are taken.
pub fn free_port() -> anyhow::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(16).wrapping_add(given);
        let port = PORTS.start + u16::try_from(offset % PORTS.len() as u32)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {} to {}", PORTS.start, PORTS.end - 1)
}
