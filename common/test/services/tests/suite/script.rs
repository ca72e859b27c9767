//! `services.sh` itself: how it ends, and what it says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;
use ha_services::{Service, Services};

use crate::processes::{processes_of, wait_until};

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services.sh")
}

/// A free port base, free for as long as the value lives; costs one small service.
async fn free_ports() -> anyhow::Result<Services> {
    Services::start_private(&[Service::InfluxDbV2Front]).await
}

fn script(dir: &Path, port_base: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command
        .arg(script_path())
        .args(arguments)
        .stdin(Stdio::null());
    command
        .env("SERVICES_DIR", dir)
        .env("SERVICES_PORT_BASE", port_base.to_string());
    command.env_remove("SERVICES_UP");
    command
}

/// The same with signals as they are to begin with: below `nohup`, and in the background of a
/// script, some are ignored, and bash cannot catch what it found ignored.
fn endable(command: &Command) -> Command {
    let mut endable = Command::new("env");
    endable
        .arg("--default-signal=TERM,INT,HUP")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => endable.env(name, value),
            None => endable.env_remove(name),
        };
    }
    endable
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn run_hands_on_urls_and_exit_code_and_leaves_nothing() -> anyhow::Result<()> {
    let ports = free_ports().await?;
    let dir = tempfile::tempdir()?;
    let command = "curl -sf $SERVICES_INFLUXDB_URL/ping && echo $SERVICES_INFLUXDB_URL \
                   $SERVICES_UP $SERVICES_AMQP_URL; exit 7";
    let arguments = ["run", "influxdb", "--", "sh", "-c", command];
    let output = script(dir.path(), ports.port_base(), &arguments).output()?;
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let base = ports.port_base();
    let expected = format!(
        "http://127.0.0.1:{} influxdb amqp://guest:guest@127.0.0.1:{}/%2f\n",
        base + 5,
        base + 1
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert_eq!(processes_of(dir.path()), Vec::<u32>::new());
    Ok(())
}

/// However `run` is ended, its command and its services end.
#[tokio::test]
async fn run_ends_everything_when_it_is_ended() -> anyhow::Result<()> {
    let ports = free_ports().await?;
    for (signal, code) in [
        ("TERM", Some(143)),
        ("INT", Some(130)),
        ("HUP", Some(129)),
        ("KILL", None),
    ] {
        let dir = tempfile::tempdir()?;
        let arguments = ["run", "influxdb", "--", "sh", "-c", "echo up; sleep 1000"];
        let mut run = endable(&script(dir.path(), ports.port_base(), &arguments))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(run.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        assert_eq!(line, "up\n");
        let pid = run.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()?
                .success()
        );
        assert_eq!(run.wait()?.code(), code, "{signal}");
        wait_until("every process has ended", || {
            processes_of(dir.path()).is_empty()
        })
        .await?;
    }
    Ok(())
}

#[test]
fn what_is_missing_is_said_with_its_remedy() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let programs = dir.path().join("programs");
    std::fs::create_dir(&programs)?;
    for program in ["bash", "dirname", "mkdir"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output()?;
        let path = String::from_utf8(found.stdout)?;
        std::os::unix::fs::symlink(path.trim(), programs.join(program))?;
    }
    for (arguments, remedy) in [
        (["start", "influxdb"], "make services-install"),
        (["install", "influxdb"], "apt-get is not here"),
    ] {
        let output = script(dir.path(), 25_600, &arguments)
            .env("PATH", &programs)
            .output()?;
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(
            words.contains(remedy) && words.contains("influxdb"),
            "{words}"
        );
    }
    Ok(())
}

#[test]
fn ports_in_the_ephemeral_range_and_unknown_names_are_refused() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (port_base, arguments, words) in [
        (32_749, ["urls", ""], "1024 to 32748"),
        (
            25_600,
            ["start", "postgres"],
            "no service is named 'postgres'",
        ),
    ] {
        let output = script(dir.path(), port_base, &arguments).output()?;
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    Ok(())
}
