//! Variables that the artifacts set are settings that the programs have.

use super::compose::configuration;
use super::kubernetes::{OVERLAYS, containers, named, rendered};
use crate::tools::{list, read, root, text};
use std::collections::BTreeSet;
use std::path::Path;

/// `40s`, `1m0s` or a bare number of seconds.
pub fn seconds(duration: &str) -> u64 {
    let (minutes, rest) = duration.split_once('m').unwrap_or(("0", duration));
    let rest = rest.trim_end_matches('s');
    let number = |text: &str| {
        if text.is_empty() {
            0
        } else {
            text.parse::<u64>().unwrap()
        }
    };
    number(minutes) * 60 + number(rest)
}

/// Every `env = "NAME"` of clap in the sources below these folders.
fn settings(folders: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in folders {
        collect(&root().join(folder), &mut names);
    }
    assert!(
        names.contains("ADMIN_ADDR"),
        "the settings are not where this test looks for them"
    );
    names
}

fn collect(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let rests = source.split("env = \"").skip(1);
            names.extend(rests.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}

/// What a program of this name reads.
fn settings_of(program: &str) -> BTreeSet<String> {
    let folder = format!("{program}/src");
    settings(&["common/app/settings/src", &folder])
}

fn assert_settings(place: &str, program: &str, variables: impl IntoIterator<Item = String>) {
    let known = settings_of(program);
    for variable in variables {
        assert!(
            known.contains(&variable),
            "{place}: {program} has no setting {variable}"
        );
    }
}

#[test]
fn compose_and_images_set_only_what_the_programs_read() {
    let configuration = configuration("dev,full,home");
    for (service, program) in [
        ("producer", "producer"),
        ("producer-home", "producer"),
        ("producer-inline", "producer"),
        ("worker", "worker"),
    ] {
        let environment = &configuration["services"][service]["environment"];
        let variables = environment.as_object().unwrap().keys().cloned();
        assert_settings(&format!("service {service}"), program, variables);
    }
    let dockerfile = read("deploy/Dockerfile");
    for program in ["producer", "worker"] {
        let (_, target) = dockerfile
            .split_once(&format!("\nFROM runtime AS {program}\n"))
            .unwrap();
        let target = target.split("\nFROM ").next().unwrap();
        let (_, variables) = target.split_once("\nENV ").unwrap();
        let variables = variables
            .split("\nEXPOSE")
            .next()
            .unwrap()
            .split_whitespace();
        let variables = variables.filter_map(|word| Some(word.split_once('=')?.0.to_owned()));
        assert_settings("deploy/Dockerfile", program, variables);
    }
}

#[test]
fn the_example_names_exactly_the_variables_that_compose_reads() {
    let compose = read("docker-compose.yml");
    let rests = compose.split("${").skip(1);
    let used: BTreeSet<&str> = rests
        .filter_map(|rest| rest.split([':', '}']).next())
        .collect();
    let example = read(".env.example");
    let given: BTreeSet<&str> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('=')?.0))
        .filter(|name| *name != "COMPOSE_PROFILES")
        .collect();
    assert_eq!(used, given);
    assert!(example.contains("\nCOMPOSE_PROFILES=full\n"));
}

#[test]
fn manifests_set_only_what_the_programs_read() {
    for overlay in OVERLAYS {
        let objects = rendered(overlay);
        for (kind, program) in [("StatefulSet", "producer"), ("Deployment", "worker")] {
            let Some(workload) = objects.iter().find(|object| object["kind"] == kind) else {
                let without = match kind {
                    "Deployment" => &["k8s/overlays/dev", "k8s/overlays/sidecar"][..],
                    _ => &["k8s/overlays/fleet"],
                };
                assert!(without.contains(overlay), "{overlay} has no {kind}");
                continue;
            };
            for container in containers(workload) {
                let mut variables: Vec<String> = list(&container["env"])
                    .iter()
                    .map(|env| text(&env["name"]).to_owned())
                    .collect();
                for source in list(&container["envFrom"]) {
                    let map = named(&objects, "ConfigMap", text(&source["configMapRef"]["name"]));
                    variables.extend(map["data"].as_object().unwrap().keys().cloned());
                }
                let program = if container["name"] == program {
                    program
                } else {
                    "worker"
                };
                assert!(
                    variables.iter().any(|name| name == "SHUTDOWN_GRACE_S"),
                    "{overlay}"
                );
                assert_settings(overlay, program, variables);
            }
        }
    }
}
