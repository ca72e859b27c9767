//! The embedded `services.sh`: written next to the state it manages, run as a child process.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};

const SCRIPT: &str = include_str!("../services.sh");

/// What the script starts Home Assistant with: paths from the script's folder, and contents.
const FILES: [(&str, &str); 6] = [
    (
        "files/home-assistant/2024.3.3.lock.txt",
        include_str!("../files/home-assistant/2024.3.3.lock.txt"),
    ),
    (
        "files/home-assistant/2025.4.4.lock.txt",
        include_str!("../files/home-assistant/2025.4.4.lock.txt"),
    ),
    (
        "files/home-assistant/configuration.yaml",
        include_str!("../files/home-assistant/configuration.yaml"),
    ),
    (
        "files/home-assistant/onboard.py",
        include_str!("../files/home-assistant/onboard.py"),
    ),
    (
        "files/home-assistant/custom_components/loadgen/__init__.py",
        include_str!("../files/home-assistant/custom_components/loadgen/__init__.py"),
    ),
    (
        "files/home-assistant/custom_components/loadgen/manifest.json",
        include_str!("../files/home-assistant/custom_components/loadgen/manifest.json"),
    ),
];

/// The script, aimed at one directory and one port range.
#[derive(Debug)]
pub(crate) struct Script {
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Script {
    /// Writes the script into `dir`, which is created. `settings` are further environment
    /// variables for every run of it.
    pub(crate) fn install(
        dir: &Path,
        port_base: u16,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let path = dir.join("services.sh");
        for (name, content) in FILES.into_iter().chain([("services.sh", SCRIPT)]) {
            write(&dir.join(name), content)?;
        }
        let mut environment = vec![
            ("SERVICES_DIR".into(), dir.as_os_str().to_owned()),
            ("SERVICES_PORT_BASE".into(), port_base.to_string().into()),
        ];
        environment.extend(
            settings
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        Ok(Self { path, environment })
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new("bash");
        command.arg(&self.path).args(arguments).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs to the end and returns standard output.
    ///
    /// # Errors
    /// With the script's own words, when it fails.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = tokio::process::Command::from(self.command(arguments))
            .output()
            .await
            .context("running bash")?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("services.sh {}: {}", arguments.join(" "), words.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Renamed into place: a shell may be reading the old one.
fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().with_context(writing)?;
    std::fs::create_dir_all(folder).with_context(writing)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(writing)?;
    file.write_all(content.as_bytes())?;
    file.persist(path).with_context(writing)?;
    Ok(())
}
