//! A small file system for the database.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::not_possible::NotPossible;

const DISK_MIB: u32 = 512;
const CHUNK_BYTES: usize = 1 << 20;

/// A file system of its own for the database; unmounted when it is dropped.
#[derive(Debug)]
pub(super) struct Tmpfs {
    pub(super) path: PathBuf,
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the database still has files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

impl Tmpfs {
    pub(super) fn mount(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .output();
        let refused = match mounted {
            Ok(output) if output.status.success() => {
                return Ok(Self {
                    path: path.to_owned(),
                });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        bail!(NotPossible(format!(
            "a small file system cannot be mounted ({refused}); that needs root and CAP_SYS_ADMIN"
        )))
    }

    pub(super) fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Writes until nothing more fits.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.ballast())?;
        let chunk = vec![0_u8; CHUNK_BYTES];
        let mut size = chunk.len();
        while size > 0 {
            match file.write(&chunk[..size]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn empty(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.ballast())
    }
}
