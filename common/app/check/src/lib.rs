//! The doctor: tries what a binary needs, and says of each what was tried, what came back and
//! what to do. One line each.

mod weather;

use ha_broker::{Broker, topology};
use ha_enrich::Schema;
use ha_settings::{SinkChoice, TlsSettings};
use ha_sink::Sink;
use ha_spool::{Spool, SpoolOptions};
use std::fmt::Display;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use url::Url;

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A larger difference between two clocks is worth a word: latencies and the order of events are
/// told by them.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(2);

/// Prints findings and remembers whether all hold.
#[derive(Debug, Default)]
pub struct Doctor {
    failed: bool,
}

impl Doctor {
    /// It holds.
    pub fn ok(&mut self, finding: impl Display) {
        self.line("ok  ", &finding);
    }

    /// It holds, and somebody should know.
    pub fn warn(&mut self, finding: impl Display, advice: impl Display) {
        self.line("warn", &format_args!("{finding}; {advice}"));
    }

    /// It does not hold.
    pub fn fail(&mut self, finding: impl Display, remedy: impl Display) {
        self.failed = true;
        self.line("FAIL", &format_args!("{finding}; {remedy}"));
    }

    /// Exit code 0 only if all holds.
    #[must_use]
    pub fn finish(self) -> ExitCode {
        if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    fn line(&self, verdict: &str, finding: &dyn Display) {
        // Errors of several lines are one line here. Nobody reads a closed pipe.
        let text = finding.to_string().replace('\n', " ");
        let _ = writeln!(std::io::stdout(), "{verdict} {text}");
    }

    /// Tries the database: address, credentials, bucket, its clock.
    pub async fn database(&mut self, choice: &SinkChoice, tls: &TlsSettings) {
        let sink = match choice.open(&Schema::Native, tls).await {
            Ok(sink) => sink,
            Err(error) => {
                return self.fail(format_args!("database: {error}"), "see the setting named");
            }
        };
        match sink.probe().await {
            Ok(report) => {
                let version = report.version.map(|version| format!(" {version}"));
                let (target, steps) = (report.target, report.steps.join("; "));
                let version = version.unwrap_or_default();
                let colon = if steps.is_empty() { "" } else { ": " };
                self.ok(format_args!("database: {target}{version}{colon}{steps}"));
            }
            Err(error) => {
                return self.fail(format_args!("database: {}", error.reason), error.remedy);
            }
        }
        if let Sink::Sqlite(sqlite) = &sink {
            self.retention(sqlite).await;
        }
        if let SinkChoice::Influx(settings) = choice {
            let mut url = settings.url.clone();
            url.set_path(&format!("{}/ping", url.path().trim_end_matches('/')));
            match http_clock_ahead_s(url, tls).await {
                Some(ahead_s) => self.clock("the database", ahead_s),
                None => self.ok("clock: the database does not tell its time"),
            }
        }
    }

    /// Says what the embedded database keeps, and how many points will be deleted.
    async fn retention(&mut self, sqlite: &ha_sink::Sqlite) {
        match ha_sink::kept(sqlite).await {
            Ok(kept) if kept.is_much => self.warn(
                format_args!("retention: {}", kept.finding),
                "set SQLITE_RETENTION to keep them (0 keeps everything for ever)",
            ),
            Ok(kept) => self.ok(format_args!("retention: {}", kept.finding)),
            Err(error) => self.fail(format_args!("retention: {error}"), "see the setting named"),
        }
    }

    /// Compares a clock with this machine's; `ahead_s` is how far it is ahead.
    pub fn clock(&mut self, whose: &str, ahead_s: f64) {
        if ahead_s.abs() > CLOCK_SKEW_MAX.as_secs_f64() {
            let way = if ahead_s > 0.0 { "ahead of" } else { "behind" };
            self.warn(
                format_args!(
                    "clock: {whose} is {:.0} s {way} this machine",
                    ahead_s.abs()
                ),
                "set both by NTP; latencies and the order of events are told by these clocks",
            );
        } else {
            self.ok(format_args!(
                "clock: {whose} and this machine agree within {} s",
                CLOCK_SKEW_MAX.as_secs()
            ));
        }
    }

    /// Tries the broker: address, login, exchanges and queues. Whether it can be used.
    pub async fn broker(&mut self, url: &Url, name: &str, tls: &TlsSettings) -> bool {
        let remedy = "start RabbitMQ, or correct AMQP_URL (and TLS_CA_FILE for a private CA)";
        let broker =
            match ha_settings::broker(url.clone(), format!("ha-ingestor {name} check"), tls) {
                Ok(broker) => broker,
                Err(error) => {
                    self.fail(format_args!("broker: {error}"), remedy);
                    return false;
                }
            };
        match declare(&broker).await {
            Ok(()) => {
                self.ok(format_args!(
                    "broker: RabbitMQ at {}: login accepted; exchanges and queues are as they must be",
                    broker.address()
                ));
                true
            }
            Err(
                error
                @ (ha_broker::BrokerError::Topology(_) | ha_broker::BrokerError::Login { .. }),
            ) => {
                self.fail(
                    format_args!("broker: {error}"),
                    "nothing else of it was tried",
                );
                false
            }
            Err(error) => {
                self.fail(format_args!("broker: {error}"), remedy);
                false
            }
        }
    }

    /// Tries the place of the spool with a spool of its own beside it: the real one may be in use,
    /// and a look must not change it.
    pub async fn spool(&mut self, path: &Path, bytes_max: u64) {
        let what = format!("spool: {}", path.display());
        let remedy = "set SPOOL_PATH to a file on a local or block volume that this user may write";
        if path.exists()
            && let Err(error) = std::fs::OpenOptions::new().append(true).open(path)
        {
            return self.fail(format_args!("{what} cannot be written: {error}"), remedy);
        }
        let mut scratch = path.as_os_str().to_owned();
        scratch.push(format!(".check-{}", std::process::id()));
        let scratch = Path::new(&scratch);
        let opened = Spool::open(SpoolOptions::new(scratch, 16 << 20)).await;
        if let Ok(opened) = &opened {
            opened.spool.clone().close().await;
        }
        remove_scratch(scratch);
        if let Err(error) = opened {
            let error = error
                .to_string()
                .replace(&scratch.display().to_string(), &path.display().to_string());
            return self.fail(format_args!("spool: {error}"), remedy);
        }
        let held = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let free = free_bytes(path).unwrap_or(u64::MAX);
        if free.saturating_add(held) < bytes_max {
            let free_mib = free >> 20;
            return self.warn(
                format_args!("{what}: writable, but {free_mib} MiB are free and SPOOL_BYTES_MAX is {bytes_max}"),
                "free some, or lower SPOOL_BYTES_MAX",
            );
        }
        self.ok(format_args!("{what}: writable, on a local volume"));
    }
}

async fn declare(broker: &Broker) -> Result<(), ha_broker::BrokerError> {
    let connection = broker.connect().await?;
    let declared = topology::ensure(broker, &connection).await;
    let closing = connection.close(200, "bye".into());
    let _ = tokio::time::timeout(TIMEOUT, closing).await;
    declared
}

/// The scratch spool and what SQLite puts beside it.
fn remove_scratch(scratch: &Path) {
    let Some(name) = scratch
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
    else {
        return;
    };
    let folder = match scratch.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&name) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let volume = rustix::fs::statvfs(folder).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// How far a web server's clock is ahead of ours, in seconds, by the header `Date`; that has whole
/// seconds, and what they leave open counts for the server. `None` where it does not tell.
pub async fn http_clock_ahead_s(url: Url, tls: &TlsSettings) -> Option<f64> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.client.as_ref().clone())
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()
        .ok()?;
    let before = SystemTime::now();
    let response = client.get(url).send().await.ok()?;
    let took = before.elapsed().unwrap_or_default();
    let date = response
        .headers()
        .get(reqwest::header::DATE)?
        .to_str()
        .ok()?;
    Some(ahead_s(httpdate::parse_http_date(date).ok()?, before, took))
}

fn ahead_s(date: SystemTime, before: SystemTime, took: Duration) -> f64 {
    let seconds = |later: SystemTime, earlier: SystemTime| match later.duration_since(earlier) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    };
    // The server's time was between `date` and a second later, ours between `before` and `took`
    // later.
    let (least, most) = (
        seconds(date, before) - took.as_secs_f64(),
        seconds(date, before) + 1.0,
    );
    if least > 0.0 { least } else { most.min(0.0) }
}

/// Asks the running process's `/healthz`, for a container's HEALTHCHECK: exit code 0 or 1.
#[must_use]
pub fn healthcheck(address: SocketAddr) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(healthz(reachable(address))),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn healthz(address: SocketAddr) -> Result<(), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("http://{address}/healthz");
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3))
        .build();
    let response = match client {
        Ok(client) => client.get(&url).send().await,
        Err(error) => Err(error),
    };
    match response {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("{url} answered {}", response.status())),
        Err(error) => Err(format!("{url}: {}", error.without_url())),
    }
}

/// A process that listens on every address is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_within_the_header_s_second() {
        let at = |ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let took = Duration::from_millis(100);
        for (date_ms, before_ms, expected) in [
            (10_000, 10_500, 0.0),
            (10_000, 9_950, 0.0),
            (10_000, 5_000, 4.9),
            (10_000, 15_000, -4.0),
        ] {
            let found = ahead_s(at(date_ms), at(before_ms), took);
            assert!(
                (found - expected).abs() < 1e-9,
                "{date_ms} {before_ms}: {found}"
            );
        }
    }

    #[test]
    fn a_process_on_every_address_is_asked_on_loopback() {
        for (address, asked) in [
            ("0.0.0.0:8100", "127.0.0.1:8100"),
            ("[::]:8100", "[::1]:8100"),
            ("10.0.0.7:8100", "10.0.0.7:8100"),
        ] {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), asked);
        }
    }
}
