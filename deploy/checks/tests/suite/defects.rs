//! `docs/defects.md` names tests that exist, in files that exist.

use crate::tools::{read, root};
use std::collections::BTreeSet;
use std::path::Path;

/// Names of functions, and paths, of all sources below.
fn collect(directory: &Path, functions: &mut BTreeSet<String>, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect(&path, functions, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let names = source.split("fn ").skip(1);
            functions.extend(names.map(|rest| rest.split(|c| !is_part(c)).next().unwrap().into()));
            files.push(path.display().to_string());
        }
    }
}

#[test]
fn every_defect_names_a_test_that_exists_or_says_why_none_is_needed() {
    let (mut functions, mut files) = (BTreeSet::new(), Vec::new());
    for folder in ["common", "producer", "worker", "loadtest"] {
        collect(&root().join(folder), &mut functions, &mut files);
    }
    let text = read("docs/defects.md");
    let rows: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .collect();
    assert_eq!(rows.len(), 28);
    for row in rows {
        let quoted: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        let mut tests = 0;
        for name in quoted {
            if name.ends_with(".rs") {
                assert!(
                    files.iter().any(|file| file.ends_with(&format!("/{name}"))),
                    "{name}"
                );
            } else if functions.contains(name) {
                tests += 1;
            } else {
                // A word of several parts is a test's name and nothing else.
                let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
                assert!(
                    !name.contains('_') || !name.chars().all(is_name),
                    "{row}: no test {name}"
                );
            }
        }
        let reasoned = ["does not apply", "nothing to log with"];
        assert!(
            tests > 0 || reasoned.iter().any(|words| row.contains(words)),
            "{row}"
        );
    }
}
