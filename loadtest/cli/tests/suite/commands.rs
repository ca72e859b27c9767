//! The command line: wrong usage, missing parts, the simulated home by itself.

use std::process::Stdio;
use std::time::Duration;

use loadtest_engine::harness::Harness;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::support::{loadtest, plan};

const LINE_MAX: Duration = Duration::from_secs(20);

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once_and_nothing_starts() {
    let mut command = loadtest();
    command.args([
        "run", "steady", "--mode", "sideways", "--rate", "0", "--sink", "tape",
    ]);
    command.args([
        "--workers",
        "many",
        "--restart-at",
        "soon",
        "--replay",
        "/nonexistent",
    ]);
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr);
    for name in [
        "--mode",
        "--rate",
        "--sink",
        "--workers",
        "--restart-at",
        "--replay",
    ] {
        assert!(words.contains(name), "{name} is not in: {words}");
    }
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn missing_binaries_are_named_with_the_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let mut plan = plan("--mode inline --sink sqlite", &[]);
    plan.binaries = Some(empty.path().to_owned());
    let error = Box::pin(Harness::start(plan, |_| ()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cargo build -p producer -p worker"),
        "{error}"
    );
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    timeout(LINE_MAX, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn the_home_by_itself_says_where_it_is_and_ends_on_sigterm() {
    let mut command = loadtest();
    command.args([
        "home",
        "--listen",
        "127.0.0.1:0",
        "--token",
        "secret",
        "--rate",
        "200",
    ]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = next(&mut lines).await;
    let address = url.rsplit("http://").next().unwrap();
    TcpStream::connect(address).await.unwrap();
    assert!(next(&mut lines).await.ends_with(" secret"));
    let line = next(&mut lines).await;
    assert!(
        line.contains("fired") && line.contains("subscriptions 0"),
        "{line}"
    );
    let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut last = line;
    while let Some(line) = timeout(LINE_MAX, lines.next_line()).await.unwrap().unwrap() {
        last = line;
    }
    let fired = last
        .split_whitespace()
        .skip_while(|word| *word != "fired")
        .nth(1)
        .unwrap();
    assert!(fired.parse::<u64>().unwrap() >= 150, "{last}");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_home_by_itself_ends_when_its_time_is_over() {
    let capture = crate::support::capture();
    let mut command = loadtest();
    command.args([
        "home",
        "--listen",
        "127.0.0.1:0",
        "--rate",
        "100",
        "--seconds",
        "1",
    ]);
    let output = command.arg("--replay").arg(capture).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().last().unwrap().contains("fired"), "{text}");
}

#[tokio::test]
async fn two_reports_are_compared_and_one_is_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("steady.json");
    let file = file.to_str().unwrap();
    let page = folder.path().join("steady.html");
    let steady =
        format!("run steady --mode inline --sink sqlite --rate 100 --seconds 2 --json {file}");
    for (arguments, wanted) in [
        (steady, "verdict          pass"),
        (format!("report --compare {file} {file}"), "latency p99, ms"),
        (format!("report {file} --html {}", page.display()), ""),
    ] {
        let mut command = loadtest();
        let output = command.args(arguments.split(' ')).output().await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {errors}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(wanted), "{arguments}: {text}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
}

#[tokio::test]
async fn what_means_nothing_is_said_before_anything_starts() {
    for (arguments, words) in [
        ("run backlog --mode inline", "--mode queue"),
        ("run backlog --sink-latency 1s", "--sink-latency"),
        ("run backlog --restart-at 3", "run steady"),
        ("run homes --rate 5", "--rate-per-home"),
        ("run replay /nonexistent", "FILE"),
        ("run burst --burst-seconds 20 --seconds 10", "--seconds"),
        ("run ramp --step-seconds soon", "--step-seconds"),
        ("run ramp --homes 2 --mode inline", "--homes"),
        (
            "run steady --rolling-restart --mode inline",
            "--rolling-restart",
        ),
        ("report", "--compare"),
    ] {
        let mut command = loadtest();
        let output = command.args(arguments.split(' ')).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(words), "{arguments}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}
