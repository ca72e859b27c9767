//! Whether a path can hold a spool at all: said before SQLite says it less clearly.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// File systems whose locks or fsync do not hold what SQLite needs of them
/// (<https://www.sqlite.org/howtocorrupt.html>, 2.1 and 3).
const NETWORK_FILE_SYSTEMS: [&str; 10] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "davfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
];

/// Checks the directory and the file's kind.
///
/// # Errors
/// `Unusable` or `NetworkFileSystem`, naming the path.
pub(crate) fn check(path: &Path) -> Result<(), OpenError> {
    let unusable = |cause: String| OpenError::Unusable {
        path: path.to_owned(),
        cause,
    };
    if path.file_name().is_none() {
        return Err(unusable("it does not name a file".into()));
    }
    let directory = directory(path);
    let real = fs::canonicalize(&directory)
        .map_err(|error| unusable(format!("directory {}: {error}", directory.display())))?;
    if !real.is_dir() {
        return Err(unusable(format!(
            "{} is not a directory",
            directory.display()
        )));
    }
    if path.is_dir() {
        return Err(unusable("it is a directory, not a file".into()));
    }
    // Only Linux has this table; elsewhere the documentation has to do.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match network_file_system(&mounts, &real) {
        Some(kind) => Err(OpenError::NetworkFileSystem {
            path: path.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

/// The directory that holds `path`.
pub(crate) fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Bytes that this user may still write on the volume of `directory`; `None` where the system
/// does not say.
#[cfg(unix)]
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    let volume = rustix::fs::statvfs(directory).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Not asked for outside of Unix.
#[cfg(not(unix))]
pub(crate) fn free_bytes(_directory: &Path) -> Option<u64> {
    None
}

/// The kind of network file system that `directory` (absolute, links resolved) is on, by the
/// kernel's `mountinfo` table (proc(5)); `None` on any other.
fn network_file_system(mountinfo: &str, directory: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = mount.split(' ').nth(4).map(unescape) else {
            continue;
        };
        let Some(kind) = source.split(' ').next() else {
            continue;
        };
        // Of equal mount points the later one hides the earlier.
        if directory.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), kind));
        }
    }
    let (_, kind) = best?;
    NETWORK_FILE_SYSTEMS
        .contains(&kind)
        .then(|| kind.to_owned())
}

/// Spaces, tabs, newlines and backslashes stand as octal escapes in `mountinfo`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /data rw,relatime shared:1 - nfs4 server:/export rw
31 30 254:1 / /data/local rw - xfs /dev/vdb rw
32 22 0:41 / /srv/my\\040share rw master:2 - cifs //host/share rw
33 22 0:42 / /twice rw - ext4 /dev/vdc rw
34 33 0:43 / /twice rw - nfs server:/other rw
a line of another shape";

    #[test]
    fn the_closest_mount_decides() {
        let cases = [
            ("/var/lib/spool", None),
            ("/data", Some("nfs4")),
            ("/data/deep/er", Some("nfs4")),
            ("/data/local/spool", None),
            ("/database", None),
            ("/srv/my share/spool", Some("cifs")),
            ("/twice/spool", Some("nfs")),
        ];
        for (directory, expected) in cases {
            let found = network_file_system(MOUNTS, Path::new(directory));
            assert_eq!(found.as_deref(), expected, "{directory}");
        }
        assert_eq!(network_file_system("", Path::new("/data")), None);
    }
}
