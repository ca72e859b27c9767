//! docker-compose.yml, by Docker Compose itself, and the Dockerfile.

use crate::tools::{cached, list, root, run, text, tool};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// The whole configuration as Compose reads it, with the settings of `.env.example`.
pub fn configuration(profiles: &str) -> Value {
    cached(profiles, || {
        read_by(
            tool("docker-compose")
                .env_remove("COMPOSE_FILE")
                .env("COMPOSE_PROFILES", profiles)
                .args(["--env-file", ".env.example"]),
        )
    })
}

/// The same as this Compose reads it.
pub fn read_by(compose: &mut Command) -> Value {
    let json = run(compose.args(["config", "--format", "json"]));
    serde_json::from_str(&json).unwrap()
}

fn services(configuration: &Value) -> BTreeSet<&str> {
    configuration["services"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn every_profile_is_complete_and_starts_nothing_of_another() {
    for (profiles, expected) in [
        ("dev", vec!["producer-inline"]),
        ("full", vec!["influxdb", "producer", "rabbitmq", "worker"]),
        ("home", vec!["producer-home"]),
        ("monitoring", vec!["alertmanager", "grafana", "prometheus"]),
    ] {
        // With no settings at all, too: no service may demand a variable.
        run(tool("docker-compose")
            .env("COMPOSE_PROFILES", profiles)
            .args(["--env-file", "/dev/null", "config", "--quiet"]));
        let configuration = configuration(profiles);
        assert_eq!(
            services(&configuration).into_iter().collect::<Vec<_>>(),
            expected
        );
    }
    let example = run(tool("docker-compose").env_remove("COMPOSE_PROFILES").args([
        "--env-file",
        ".env.example",
        "config",
        "--services",
    ]));
    assert!(
        example.contains("worker"),
        ".env.example must choose the profile full"
    );
}

#[test]
fn services_are_bounded_healthy_in_order_and_fed_their_secrets_as_files() {
    let configuration = configuration("dev,full,home,monitoring");
    for (name, service) in configuration["services"].as_object().unwrap() {
        let limits = &service["deploy"]["resources"]["limits"];
        assert!(
            limits["memory"].is_string() && limits["cpus"].is_number(),
            "{name}: {limits}"
        );
        assert!(
            service["healthcheck"]["test"].is_array(),
            "{name} has no health check"
        );
        assert_eq!(
            service["profiles"].as_array().map(Vec::len),
            Some(1),
            "{name}"
        );
        for (other, dependency) in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(
                dependency["condition"], "service_healthy",
                "{name} on {other}"
            );
            let same = configuration["services"][other]["profiles"] == service["profiles"];
            assert!(same, "{name} waits for {other} of another profile");
        }
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let is_secret = ["TOKEN", "PASSWORD", "AMQP_URL"]
                .iter()
                .any(|word| variable.contains(word));
            assert!(
                !is_secret || variable.ends_with("_FILE"),
                "{name}: {variable}={value}"
            );
            if variable.ends_with("_FILE") {
                let secret = text(value).strip_prefix("/run/secrets/").unwrap();
                let is_given = |given: &Value| {
                    given["source"] == secret
                        && given["target"]
                            .as_str()
                            .is_none_or(|target| target.ends_with(secret))
                };
                assert!(
                    list(&service["secrets"]).iter().any(is_given),
                    "{name}: {secret}"
                );
            }
        }
        if name.starts_with("producer") || name == "worker" {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(service["cap_drop"][0], "ALL", "{name}");
            let grace = super::settings::seconds(text(&service["stop_grace_period"]));
            let drain = super::settings::seconds(text(&service["environment"]["SHUTDOWN_GRACE_S"]));
            assert!(
                grace > drain,
                "{name}: stopped after {grace} s, drains for {drain} s"
            );
        }
    }
    let worker = &configuration["services"]["worker"];
    assert!(
        worker["container_name"].is_null() && list(&worker["ports"]).is_empty(),
        "cannot scale"
    );
    for (name, memory) in [("producer", 512 << 20), ("worker", 2_u64 << 30)] {
        let limit =
            text(&configuration["services"][name]["deploy"]["resources"]["limits"]["memory"]);
        assert_eq!(limit.parse::<u64>().unwrap(), memory, "{name}");
    }
}

#[test]
fn files_that_compose_mounts_are_in_the_tree_or_made_by_the_script() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("secrets");
    run(tool("deploy/make-secrets.sh").arg(&made));
    let configuration = configuration("dev,full,monitoring");
    for (name, service) in configuration["services"].as_object().unwrap() {
        for volume in list(&service["volumes"])
            .iter()
            .filter(|volume| volume["type"] == "bind")
        {
            let source = std::path::Path::new(text(&volume["source"]));
            assert!(
                source.starts_with(root()) && source.exists(),
                "{name}: {source:?}"
            );
            assert_eq!(volume["read_only"], true, "{name}: {source:?}");
        }
    }
    for (name, secret) in configuration["secrets"].as_object().unwrap() {
        let file = std::path::Path::new(text(&secret["file"]))
            .file_name()
            .unwrap();
        assert!(made.join(file).exists(), "make-secrets.sh makes no {name}");
    }
    // A second run keeps what the first made.
    let before = std::fs::read(made.join("worker_amqp_url")).unwrap();
    run(tool("deploy/make-secrets.sh").arg(&made));
    assert_eq!(std::fs::read(made.join("worker_amqp_url")).unwrap(), before);
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile_and_it_has_a_target_for_every_binary() {
    run(tool("hadolint").arg("deploy/Dockerfile"));
    let dockerfile = super::tools::read("deploy/Dockerfile");
    assert!(
        !dockerfile.contains("syntax="),
        "BuildKit would fetch another frontend"
    );
    for binary in ["producer", "worker", "loadtest"] {
        let (_, target) = dockerfile
            .split_once(&format!("\nFROM runtime AS {binary}\n"))
            .unwrap();
        let target = target.split("\nFROM ").next().unwrap();
        assert!(
            target.contains(&format!("ENTRYPOINT [\"/usr/local/bin/{binary}\"]")),
            "{binary}"
        );
        assert!(target.contains("HEALTHCHECK"), "{binary}");
    }
    assert!(dockerfile.contains("\nUSER 65532:65532\n"));
}

/// Built for pages of 4 KiB, jemalloc ends a binary at once where the kernel has larger ones, as on a
/// Raspberry Pi 5.
#[test]
fn an_image_for_arm_runs_with_pages_of_up_to_64_kib() {
    let has = |path, line| super::tools::read(path).lines().any(|it| it == line);
    let page_size = "AARCH64_UNKNOWN_LINUX_GNU_JEMALLOC_SYS_WITH_LG_PAGE = \"16\"";
    assert!(has(".cargo/config.toml", page_size));
    assert!(has(".dockerignore", "!.cargo"));
}
