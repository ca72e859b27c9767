//! Finding a range of ports that nobody uses. The offsets are documented in `services.sh`.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;

pub(crate) const AMQP: u16 = 1;
pub(crate) const MANAGEMENT: u16 = 2;
pub(crate) const RABBITMQ_PROMETHEUS: u16 = 3;
pub(crate) const INFLUXDB: u16 = 5;
pub(crate) const INFLUXDB_V2: u16 = 7;
pub(crate) const VICTORIA_METRICS: u16 = 8;
pub(crate) const PROMETHEUS: u16 = 9;
pub(crate) const ALERTMANAGER: u16 = 10;
pub(crate) const MOSQUITTO: u16 = 11;
pub(crate) const HOME_ASSISTANT: u16 = 18;
const RESERVATION: u16 = 19;

const RANGE_PORTS: u16 = 20;
/// Well above the default base of `services.sh` and RabbitMQ's own 25672, all of it below 32768.
const FIRST_BASE: u16 = 26_000;
const BASES: u16 = 330;
const _: () = assert!(FIRST_BASE + BASES * RANGE_PORTS <= 32_768);

/// A range of ports, held by listening on its last one until the value is dropped: two processes
/// that look at the same time cannot both get it.
#[derive(Debug)]
pub(crate) struct PortRange {
    pub(crate) base: u16,
    _reservation: TcpListener,
}

impl PortRange {
    /// The search begins at a place that depends on the process, so that test processes running
    /// side by side seldom meet.
    pub(crate) fn reserve() -> anyhow::Result<Self> {
        let offset = std::process::id() % u32::from(BASES);
        for attempt in 0..u32::from(BASES) {
            let index = (offset + attempt) % u32::from(BASES);
            let base = FIRST_BASE + RANGE_PORTS * u16::try_from(index)?;
            let Ok(reservation) = listen(base + RESERVATION) else {
                continue;
            };
            if (0..RESERVATION).all(|port_offset| listen(base + port_offset).is_ok()) {
                return Ok(Self {
                    base,
                    _reservation: reservation,
                });
            }
        }
        bail!("no {RANGE_PORTS} free ports in a row from {FIRST_BASE} on");
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::{PortRange, RANGE_PORTS, listen};

    #[test]
    fn two_ranges_held_at_once_differ_and_a_taken_port_is_passed_over() {
        let first = PortRange::reserve().unwrap();
        let second = PortRange::reserve().unwrap();
        assert!(first.base.abs_diff(second.base) >= RANGE_PORTS);
        let taken = second.base;
        drop(second);
        let _listener = listen(taken).unwrap();
        assert_ne!(PortRange::reserve().unwrap().base, taken);
    }
}
