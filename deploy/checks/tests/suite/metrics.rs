//! What the binaries themselves expose, with nothing around them: no Home Assistant, no broker, no
//! database. Everything that the reference promises is there from the start, at 0.

use crate::tools::{read, root, tool};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A port where nobody listens.
const NOBODY: &str = "127.0.0.1:9";

/// A running binary; ends with this.
pub struct Running {
    child: Child,
    address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary of the same build; cargo builds it only when it is asked for it.
pub fn binary(name: &str) -> PathBuf {
    let of_this_test = std::env::current_exe().unwrap();
    let target = of_this_test.parent().unwrap().parent().unwrap();
    let binary = target.join(name);
    assert!(
        binary.is_file(),
        "{} is not there: `cargo build -p {name}` makes it",
        binary.display()
    );
    binary
}

pub fn start(name: &str, variables: &[(&str, &str)]) -> Running {
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("log");
    let child = Command::new(binary(name))
        .arg("run")
        .env_clear()
        .env("LOG_FORMAT", "json")
        .env("ADMIN_ADDR", "127.0.0.1:0")
        .envs(variables.iter().copied())
        .current_dir(files.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running {
        child,
        address: ([0, 0, 0, 0], 0).into(),
        _files: files,
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let address = text.lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            (line["message"] == "health, metrics and status")
                .then(|| line["address"].as_str()?.parse().ok())?
        });
        if let Some(address) = address {
            running.address = address;
            return running;
        }
        assert!(Instant::now() < deadline, "{name} does not listen:\n{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"),
        "{answer}"
    );
    body.to_owned()
}

/// The metrics when the first round of the parts' own counters is in them: `until` is there.
pub fn metrics(running: &Running, until: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = get(running.address, "/metrics");
        if text.contains(until) {
            return text;
        }
        assert!(Instant::now() < deadline, "no {until} in\n{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Names of the reference, section 6, for a binary.
fn promised(of: &str) -> Vec<String> {
    let reference = read("docs/reference.md");
    let (_, section) = reference.split_once("\n## 6. ").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let start = format!("- {of}: ");
    let line = section
        .lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap();
    // Text in back quotes is every second part.
    let names = line.split('`').skip(1).step_by(2);
    names
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect()
}

/// Sums of samples by the name of the metric.
pub fn sums(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap().to_owned();
        *sums.entry(name).or_default() += value.parse::<f64>().unwrap();
    }
    sums
}

fn check(name: &str, variables: &[(&str, &str)], until: &str) {
    let running = start(name, variables);
    let text = metrics(&running, until);
    let sums = sums(&text);
    let names = promised(name);
    assert!(names.len() >= 8, "{names:?} were read from the reference");
    for metric in names {
        let full = format!("ha_ingestor_{metric}");
        assert!(
            text.contains(&format!("# HELP {full} ")),
            "{name}: no help for {full}\n{text}"
        );
        let is_histogram = text.contains(&format!("# TYPE {full} histogram"));
        let sample = if is_histogram {
            format!("{full}_count")
        } else {
            full.clone()
        };
        let sum = sums.get(&sample);
        let sum = sum.unwrap_or_else(|| panic!("{name}: no {sample} at the start\n{text}"));
        // Of a state set one is 1; the database has not said no yet.
        let expected = f64::from(u8::from(
            ["route_state", "sink_available"].contains(&metric.as_str()),
        ));
        assert_eq!(*sum, expected, "{sample}");
    }
    let mut child = tool("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.is_empty(),
        "{name}, promtool: {said}"
    );
}

#[test]
fn every_metric_of_the_reference_is_there_from_the_start_and_promtool_finds_no_fault() {
    assert!(root().join("docs/reference.md").is_file());
    let home = [
        ("HOME_ASSISTANT_URL", "http://127.0.0.1:9"),
        ("HOME_ASSISTANT_TOKEN", "none"),
        ("ENRICHMENT_MODE", "inline"),
    ];
    check(
        "producer",
        &home,
        "ha_ingestor_route_state{state=\"passing\"} 1",
    );
    let amqp = format!("amqp://guest:guest@{NOBODY}/%2f");
    let worker = [("AMQP_URL", amqp.as_str()), ("SINK", "sqlite")];
    check("worker", &worker, "process_cpu_seconds_total");
}
