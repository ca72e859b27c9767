//! Running tools, and reading YAML.

use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Top of the repository.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `PATH` with the tools in front of it, which are installed at the first call.
fn search_path() -> &'static OsStr {
    static PATH: OnceLock<std::ffi::OsString> = OnceLock::new();
    PATH.get_or_init(|| {
        let output = Command::new("bash")
            .arg(root().join("deploy/checks/install.sh"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "deploy/checks/install.sh failed");
        let directories = String::from_utf8(output.stdout).unwrap();
        let given = std::env::var_os("PATH").unwrap_or_default();
        let paths = directories
            .lines()
            .map(PathBuf::from)
            .chain(std::env::split_paths(&given));
        std::env::join_paths(paths).unwrap()
    })
}

/// A tool of the installed ones, to be run at the top of the repository.
pub fn tool(name: &str) -> Command {
    let mut command = Command::new("env");
    command
        .arg(name)
        .env("PATH", search_path())
        .current_dir(root())
        .stdin(Stdio::null());
    command
}

/// Runs it and returns what it printed; panics with all of that when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{stderr}",
        output.status
    );
    stdout
}

/// What `make` returns, made once a key: many tests read the same files by slow tools.
pub fn cached(key: &str, make: impl FnOnce() -> Value) -> Value {
    static MADE: Mutex<BTreeMap<String, Value>> = Mutex::new(BTreeMap::new());
    let of_before = MADE.lock().unwrap().get(key).cloned();
    of_before.unwrap_or_else(|| {
        // Not under the lock: a failure would poison it for every other test.
        let value = make();
        MADE.lock().unwrap().insert(key.to_owned(), value.clone());
        value
    })
}

/// The documents of a YAML file.
pub fn yaml(path: impl AsRef<Path>) -> Vec<Value> {
    const TO_JSON: &str = "import json, sys, yaml\n\
        print(json.dumps([d for d in yaml.load_all(open(sys.argv[1]), yaml.CSafeLoader) if d is not None], default=str))";
    let path = root().join(path);
    let documents = cached(&path.to_string_lossy(), || {
        let json = run(tool("python").args(["-c", TO_JSON]).arg(&path));
        serde_json::from_str(&json).unwrap()
    });
    list(&documents).to_vec()
}

/// Every file below a directory whose name ends so.
pub fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no {ending} under {directory}");
    found
}

/// The elements of a list; of nothing, none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
}
