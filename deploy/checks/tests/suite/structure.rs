//! The structure of the code.

use crate::tools::root;
use std::process::Command;

#[test]
fn no_file_uses_a_file_that_uses_it_back() {
    let output = Command::new("python3")
        .arg(root().join("deploy/checks/circles.py"))
        .output()
        .unwrap();
    let circles = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{circles}{errors}");
}
