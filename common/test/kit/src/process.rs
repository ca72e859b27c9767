//! A binary of the product as a child process: its log, its admin address, its end.

use crate::eventually::{SOON, eventually};
use reqwest::Client;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// A running process; killed if the test ends before it.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    client: Client,
}

/// How a process ended and all that it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub output: String,
}

impl Process {
    /// Starts it with these variables and no others. `ADMIN_ADDR` is a free port unless given.
    pub fn start(binary: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut child = Command::new(binary)
            .args(arguments)
            .env_clear()
            .env("LOG_FORMAT", "json")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let output: Arc<Mutex<String>> = Arc::default();
        let readers = vec![
            follow(child.stdout.take().unwrap(), Arc::clone(&output)),
            follow(child.stderr.take().unwrap(), Arc::clone(&output)),
        ];
        // Each test has a runtime of its own, and a connection dies with its runtime.
        let client = Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self {
            child,
            output,
            readers,
            client,
        }
    }

    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// The address that it said it listens on.
    pub async fn admin_address(&self) -> SocketAddr {
        eventually("the admin address", async || {
            self.output().lines().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                (line["message"] == "health, metrics and status")
                    .then(|| line["address"].as_str()?.parse().ok())?
            })
        })
        .await
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin_address().await);
        let answer = self.client.get(url).timeout(SOON).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends a PUT with this body.
    pub async fn put(&self, path: &str, body: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin_address().await);
        let request = self.client.put(url).body(body.to_owned());
        let answer = request.timeout(SOON).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/status").await.1).unwrap()
    }

    pub async fn wait_until_ready(&self) {
        self.wait_for_readyz("200", |code, _| code == 200).await;
    }

    /// Waits until it is not ready and says all of these.
    pub async fn wait_until_not_ready(&self, parts: &[&str]) -> String {
        let what = format!("503 with {parts:?}");
        self.wait_for_readyz(&what, |code, text| {
            code == 503 && parts.iter().all(|part| text.contains(part))
        })
        .await
    }

    async fn wait_for_readyz(&self, what: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let (code, text) = self.get("/readyz").await;
            if wanted(code, &text) {
                return text;
            }
            let log = self.output();
            assert!(
                Instant::now() < deadline,
                "wanted {what}, /readyz is {code} {text}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Sends SIGTERM; returns at once.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// SIGKILL; returns when it has ended.
    pub async fn kill(self) {
        self.signal("-KILL");
        self.ended().await;
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Returns when it has ended; never, if it does not.
    pub async fn has_ended(&mut self) {
        let _ = self.child.wait().await;
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Ended {
        let status = timeout(SOON, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("still running:\n{}", self.output()));
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        Ended {
            status: status.unwrap(),
            output: self.output(),
        }
    }

    /// SIGTERM, then exit 0; all that it printed.
    pub async fn stop(self) -> String {
        self.terminate();
        let ended = self.ended().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
        ended.output
    }
}

fn follow(from: impl AsyncRead + Unpin + Send + 'static, to: Arc<Mutex<String>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut output = to.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    })
}

/// Starts a process with this variable more, which leaves out what is said of a shutdown, and has it
/// said after all.
pub async fn log_level_changes_while_it_runs(
    start: impl FnOnce((&'static str, String)) -> Process,
) {
    const QUIET: &str = "ha_telemetry::admin=info,error";
    let said = "SIGTERM: finishing what is held";
    let process = start(("RUST_LOG", QUIET.into()));
    process.wait_until_ready().await;
    assert_eq!(process.get("/log-level").await, (200, format!("{QUIET}\n")));
    let (status, error) = process.put("/log-level", "inof").await;
    assert_eq!(status, 400, "{error}");
    assert!(
        error.contains("\"inof\"") && error.contains("such as info"),
        "{error}"
    );
    assert_eq!(process.get("/log-level").await.1, format!("{QUIET}\n"));
    let changed = process.put("/log-level", "ha_telemetry=info,warn").await;
    assert_eq!(changed, (200, "ha_telemetry=info,warn\n".into()));
    let output = process.stop().await;
    assert!(
        output.contains(said) && output.contains("the log level was changed"),
        "{output}"
    );
    let info = output.matches(r#""level":"INFO""#).count();
    assert_eq!(info, 2, "the address and the shutdown: {output}");
}

/// Starts a process with an `ADMIN_ADDR` that is taken: it ends, and names the remedy.
pub async fn an_admin_address_in_use_ends_the_start(
    start: impl FnOnce((&'static str, String)) -> Process,
) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let ended = start(("ADMIN_ADDR", taken.clone())).ended().await;
    let output = ended.output;
    assert_eq!(ended.status.code(), Some(1), "{output}");
    for part in ["ADMIN_ADDR", &taken, "another address"] {
        assert!(output.contains(part), "{part} is not in: {output}");
    }
}

/// Starts a process with an `AMQP_URL` that leads nowhere: it goes on, and says so without the
/// password.
pub async fn no_broker_at_the_address_is_said(
    start: impl FnOnce((&'static str, String)) -> Process,
) {
    const SECRET: &str = "s3cret-that-never-shows";
    let port = free_port();
    let url = format!("amqp://user:{SECRET}@127.0.0.1:{port}/%2f");
    let process = start(("AMQP_URL", url));
    let said = process
        .wait_until_not_ready(&["broker", "AMQP_URL", &port.to_string()])
        .await;
    let (_, status) = process.get("/status").await;
    assert_eq!(process.get("/healthz").await.0, 200);
    let output = process.stop().await;
    for text in [&said, &status, &output] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// A process ends with code 2 over its settings, names all of these, and shows no secret.
pub async fn settings_are_refused(process: Process, names: &[&str], secret: &str) {
    let ended = process.ended().await;
    let output = ended.output;
    assert_eq!(ended.status.code(), Some(2), "{output}");
    for name in names {
        assert!(output.contains(name), "{name} is not in: {output}");
    }
    assert!(!output.contains(secret), "{output}");
}

/// A port that nobody listens on, below the range that clients get theirs from; and not found
/// twice by one process.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + (std::process::id() % 400) as u16 * 20;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
