//! What depends on the process that owns a set: tests that run themselves again in another role.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use ha_services::{Service, Services};

use crate::processes::{processes_of, wait_until};

const ROLE: &str = "HA_SERVICES_TEST_ROLE";

fn in_role() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// This test binary, running the test `name` in its other role.
fn other_role(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, "1");
    Ok(command)
}

#[tokio::test]
async fn services_end_with_an_owner_that_is_killed() -> anyhow::Result<()> {
    if in_role() {
        let services = Services::start_private(&[Service::InfluxDb]).await?;
        println!("\nowner of {}", services.dir().display());
        std::future::pending::<()>().await;
    }
    let mut owner = other_role("owner::services_end_with_an_owner_that_is_killed")?
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(owner.stdout.take().context("stdout is piped")?);
    let dir = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("owner of ").map(PathBuf::from));
    let running = dir.as_deref().map(processes_of).unwrap_or_default();
    owner.kill()?;
    owner.wait()?;
    let dir = dir.context("the owner did not come up")?;
    assert!(
        running.len() >= 2,
        "InfluxDB and its guard, but found {running:?}"
    );
    wait_until("every process has ended", || processes_of(&dir).is_empty()).await?;
    wait_until("the directory is gone", || !dir.exists()).await?;
    Ok(())
}

#[tokio::test]
async fn the_shared_set_is_the_one_around_the_process() -> anyhow::Result<()> {
    if in_role() {
        let services = Services::shared().await?;
        println!(
            "\nattached to {} {}",
            services.dir().display(),
            services.influxdb_url()
        );
        let refusal = services
            .stop(Service::InfluxDb)
            .await
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("private"), "{refusal}");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let output = other_role("owner::the_shared_set_is_the_one_around_the_process")?
        .env("SERVICES_UP", "rabbitmq influxdb nginx")
        .env("SERVICES_DIR", dir.path())
        .env("SERVICES_PORT_BASE", "25620")
        .output()?;
    let words = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{words}");
    let expected = format!(
        "attached to {} http://127.0.0.1:25625\n",
        dir.path().display()
    );
    assert!(words.contains(&expected), "{words}");
    Ok(())
}
