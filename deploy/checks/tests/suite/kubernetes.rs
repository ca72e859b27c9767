//! Every overlay, rendered and held against the schemas, and what the schemas do not say.

use crate::tools::{cached, list, root, run, text, tool, yaml};
use serde_json::Value;
use std::collections::BTreeSet;

/// Everything that is applied.
pub const OVERLAYS: &[&str] = &[
    "k8s/base",
    "k8s/overlays/dev",
    "k8s/overlays/fleet",
    "k8s/overlays/production",
    "k8s/overlays/keda",
    "k8s/overlays/sidecar",
];

/// Oldest and newest Kubernetes that the manifests are for.
const VERSIONS: [&str; 2] = ["1.27", "1.37"];

/// Groups of custom resources: the schemas of Kubernetes itself do not know them.
const CUSTOM: [&str; 3] = ["keda.sh/", "monitoring.coreos.com/", "rabbitmq.com/"];

const APP: &str = "app.kubernetes.io/name";

pub fn rendered(overlay: &str) -> Vec<Value> {
    let documents = cached(overlay, || {
        let text = run(tool("kubectl").args(["kustomize", overlay]));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        yaml(file.path()).into()
    });
    list(&documents).to_vec()
}

fn is_custom(object: &Value) -> bool {
    CUSTOM
        .iter()
        .any(|group| text(&object["apiVersion"]).starts_with(group))
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

pub fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = of_kind(objects, kind)
        .into_iter()
        .find(|object| object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Deployments, StatefulSets and Jobs.
fn workloads(objects: &[Value]) -> Vec<&Value> {
    objects
        .iter()
        .filter(|object| object["spec"]["template"]["spec"].is_object())
        .collect()
}

pub fn containers(workload: &Value) -> &[Value] {
    list(&workload["spec"]["template"]["spec"]["containers"])
}

/// Whether labels fulfil `matchLabels`.
fn fits(selector: &Value, labels: &Value) -> bool {
    selector
        .as_object()
        .unwrap()
        .iter()
        .all(|(key, value)| &labels[key] == value)
}

/// Mi, whatever the unit.
fn mebibytes(quantity: &Value) -> u64 {
    let quantity = text(quantity);
    let (number, unit) = quantity.split_at(quantity.len() - 2);
    let factor = match unit {
        "Mi" => 1,
        "Gi" => 1024,
        _ => panic!("{quantity}: Mi or Gi"),
    };
    number.parse::<u64>().unwrap() * factor
}

#[test]
fn every_overlay_is_valid_for_the_oldest_and_the_newest_kubernetes() {
    let directory = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (index, overlay) in OVERLAYS.iter().enumerate() {
        let objects = rendered(overlay);
        assert!(
            *overlay != "k8s/base" || !objects.iter().any(is_custom),
            "base is for a bare cluster"
        );
        let builtin: Vec<&Value> = objects.iter().filter(|object| !is_custom(object)).collect();
        let lines: Vec<String> = builtin.iter().map(|object| object.to_string()).collect();
        let file = directory.path().join(format!("{index}.yaml"));
        std::fs::write(&file, lines.join("\n---\n")).unwrap();
        names.push(file);
    }
    for version in VERSIONS {
        run(tool("kubernetes-validate")
            .args(["--strict", "--quiet", "-k", version])
            .args(&names));
    }
    let mut applied: Vec<String> = std::fs::read_dir(root().join("k8s/overlays"))
        .unwrap()
        .map(|entry| {
            format!(
                "k8s/overlays/{}",
                entry.unwrap().file_name().to_string_lossy()
            )
        })
        .collect();
    applied.push("k8s/base".into());
    let expected: BTreeSet<String> = OVERLAYS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        applied.into_iter().collect::<BTreeSet<_>>(),
        expected,
        "an overlay is not checked"
    );
}

#[test]
fn checkov_and_yamllint_find_nothing_but_what_is_skipped_with_a_reason() {
    let lint = ["--strict", "--config-file", "deploy/checks/yamllint.yaml"];
    run(tool("yamllint")
        .args(lint)
        .args(["deploy", "k8s", "docker-compose.yml"]));

    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let text = run(tool("kubectl").args(["kustomize", "k8s/overlays/production"]));
    std::fs::write(file.path(), text).unwrap();
    run(tool("checkov")
        .args([
            "--config-file",
            "deploy/checks/checkov.yaml",
            "--quiet",
            "--compact",
        ])
        .args(["--skip-download", "--file"])
        .arg(file.path()));
}

#[test]
fn pods_are_restricted_bounded_and_given_time_to_finish() {
    for overlay in OVERLAYS {
        let objects = rendered(overlay);
        for workload in workloads(&objects) {
            let place = format!("{overlay}: {}", workload["metadata"]["name"]);
            let pod = &workload["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{place}");
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{place}"
            );
            assert_eq!(pod["automountServiceAccountToken"], false, "{place}");
            for volume in list(&pod["volumes"]) {
                assert!(
                    volume["hostPath"].is_null(),
                    "{place} reads the node's disk"
                );
            }
            for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[forbidden].is_null(), "{place}: {forbidden}");
            }
            for container in containers(workload) {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{place}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{place}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{place}");
                let resources = &container["resources"];
                let limit = mebibytes(&resources["limits"]["memory"]);
                assert!(
                    mebibytes(&resources["requests"]["memory"]) <= limit,
                    "{place}"
                );
                assert!(resources["requests"]["cpu"].is_string(), "{place}");
                for (name, expected) in [("producer", 512), ("worker", 2048)] {
                    assert!(
                        container["name"] != name || limit == expected,
                        "{place}: {limit} Mi"
                    );
                }
                for mount in list(&container["volumeMounts"]) {
                    let is_it = |volume: &&Value| volume["name"] == mount["name"];
                    let claims = workload["spec"]["volumeClaimTemplates"].as_array();
                    let claimed = claims
                        .into_iter()
                        .flatten()
                        .any(|c| c["metadata"]["name"] == mount["name"]);
                    let exists = claimed || list(&pod["volumes"]).iter().any(|v| is_it(&v));
                    assert!(exists, "{place}: no volume {}", mount["name"]);
                }
                assert_probes_and_grace(&place, &objects, pod, container);
            }
        }
    }
}

fn assert_probes_and_grace(place: &str, objects: &[Value], pod: &Value, container: &Value) {
    if container["name"] == "import" {
        return;
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        let has_port = list(&container["ports"])
            .iter()
            .any(|port| port["name"] == get["port"]);
        assert!(
            has_port,
            "{place}: {probe} asks at no port of the container"
        );
        let path = if probe == "readinessProbe" {
            "/readyz"
        } else {
            "/healthz"
        };
        assert_eq!(get["path"], path, "{place}: {probe}");
    }
    let settings = text(&container["envFrom"][0]["configMapRef"]["name"]);
    let settings = &named(objects, "ConfigMap", settings)["data"];
    let drain: u64 = text(&settings["SHUTDOWN_GRACE_S"]).parse().unwrap();
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(
        grace > drain,
        "{place}: killed after {grace} s, drains for {drain} s"
    );
    let (_, port) = text(&settings["ADMIN_ADDR"]).rsplit_once(':').unwrap();
    assert_eq!(
        container["ports"][0]["containerPort"].to_string(),
        port,
        "{place}: ADMIN_ADDR"
    );
}

#[test]
fn selectors_select_and_ports_exist() {
    for overlay in OVERLAYS {
        let objects = rendered(overlay);
        let workloads = workloads(&objects);
        let pods: Vec<&Value> = workloads
            .iter()
            .map(|workload| &workload["spec"]["template"]["metadata"]["labels"])
            .collect();
        // The operator labels its pods and its Service with the name of the cluster.
        let clusters = of_kind(&objects, "RabbitmqCluster");
        let by_operator = |selector: &Value| {
            clusters
                .iter()
                .any(|cluster| selector[APP] == cluster["metadata"]["name"])
        };
        for workload in &workloads {
            if workload["kind"] != "Job" {
                let own = &workload["spec"]["template"]["metadata"]["labels"];
                assert!(
                    fits(&workload["spec"]["selector"]["matchLabels"], own),
                    "{overlay}"
                );
            }
        }
        for service in of_kind(&objects, "Service") {
            let selector = &service["spec"]["selector"];
            let chosen = workloads
                .iter()
                .find(|w| fits(selector, &w["spec"]["template"]["metadata"]["labels"]));
            let chosen = chosen.unwrap_or_else(|| {
                panic!("{overlay}: {} selects nothing", service["metadata"]["name"])
            });
            for port in list(&service["spec"]["ports"]) {
                let target = containers(chosen)
                    .iter()
                    .flat_map(|container| list(&container["ports"]));
                let mut fitting = target.filter(|p| {
                    p["name"] == port["targetPort"] && p["containerPort"] == port["port"]
                });
                assert!(fitting.next().is_some(), "{overlay}: {port}");
            }
        }
        for kind in ["PodDisruptionBudget", "NetworkPolicy"] {
            for object in of_kind(&objects, kind) {
                let key = if kind == "NetworkPolicy" {
                    "podSelector"
                } else {
                    "selector"
                };
                let selector = &object["spec"][key]["matchLabels"];
                let selects = selector.is_null()
                    || by_operator(selector)
                    || pods.iter().any(|labels| fits(selector, labels));
                assert!(
                    selects,
                    "{overlay}: {kind} {} selects nothing",
                    object["metadata"]["name"]
                );
            }
        }
        for monitor in of_kind(&objects, "ServiceMonitor") {
            let selector = &monitor["spec"]["selector"]["matchLabels"];
            let service = of_kind(&objects, "Service")
                .into_iter()
                .find(|service| fits(selector, &service["metadata"]["labels"]));
            assert!(
                by_operator(selector) || service.is_some(),
                "{overlay}: {selector}"
            );
            for endpoint in list(&monitor["spec"]["endpoints"]) {
                let ports = service.map_or(&[][..], |service| list(&service["spec"]["ports"]));
                assert!(
                    service.is_none() || ports.iter().any(|port| port["name"] == endpoint["port"]),
                    "{overlay}"
                );
            }
        }
    }
}

#[test]
fn network_policies_open_the_ports_that_are_listened_on() {
    let objects = rendered("k8s/overlays/production");
    let policies = of_kind(&objects, "NetworkPolicy");
    let denied = policies.iter().any(|policy| {
        let spec = &policy["spec"];
        spec["podSelector"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
            && list(&spec["policyTypes"]).len() == 2
            && spec["ingress"].is_null()
            && spec["egress"].is_null()
    });
    assert!(denied, "nothing denies what is not listed");
    for workload in workloads(&objects)
        .into_iter()
        .filter(|workload| workload["kind"] != "Job")
    {
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        let own = policies.iter().find(|policy| {
            let selector = &policy["spec"]["podSelector"]["matchLabels"];
            selector.is_object() && fits(selector, labels)
        });
        let ingress = list(&own.unwrap()["spec"]["ingress"])
            .iter()
            .flat_map(|rule| list(&rule["ports"]));
        let open: BTreeSet<String> = ingress.map(|port| port["port"].to_string()).collect();
        let listening = containers(workload)
            .iter()
            .flat_map(|container| list(&container["ports"]));
        let listening: BTreeSet<String> = listening
            .map(|port| port["containerPort"].to_string())
            .collect();
        assert_eq!(open, listening, "{}", workload["metadata"]["name"]);
    }
}

#[test]
fn the_sidecar_is_where_the_producer_looks_for_it() {
    let objects = rendered("k8s/overlays/sidecar");
    let pod = named(&objects, "StatefulSet", "ha-ingestor-producer");
    let settings = |name: &str| {
        let container = containers(pod).iter().find(|c| c["name"] == name).unwrap();
        let map = text(&container["envFrom"][0]["configMapRef"]["name"]);
        named(&objects, "ConfigMap", map)["data"].clone()
    };
    let (producer, worker) = (settings("producer"), settings("worker"));
    assert_eq!(producer["ENRICHMENT_MODE"], "service");
    let intake = text(&worker["INTAKE_ADDR"]);
    assert!(intake.starts_with("127.0.0.1:"), "{intake} needs a token");
    assert_eq!(
        producer["ENRICHMENT_SERVICE_URL"],
        format!("http://{intake}")
    );
    assert_ne!(producer["SPOOL_PATH"], worker["SPOOL_PATH"]);
    let ports = containers(pod).iter().flat_map(|c| list(&c["ports"]));
    let ports: Vec<_> = ports.map(|port| port["containerPort"].as_u64()).collect();
    assert_eq!(
        ports,
        [Some(8100), Some(8200)],
        "the intake is nobody else's"
    );
    let images = containers(pod).iter().map(|c| text(&c["image"]));
    let tags: Vec<_> = images
        .map(|image| image.split_once(':').unwrap().1)
        .collect();
    assert_eq!(tags[0], tags[1], "one release");
    let policy = named(&objects, "NetworkPolicy", "ha-ingestor-producer");
    let open = list(&policy["spec"]["ingress"][0]["ports"]).iter();
    let open: Vec<_> = open.map(|port| port["port"].as_u64()).collect();
    assert_eq!(open, ports);
    for object in &objects {
        assert_ne!(object["metadata"]["name"], "ha-ingestor-worker", "{object}");
    }
}

#[test]
fn the_prometheus_rule_is_the_rule_file() {
    let objects = rendered("k8s/overlays/production");
    let rule = of_kind(&objects, "PrometheusRule")[0];
    let file = &yaml("deploy/prometheus/alerts.rules.yml")[0];
    assert_eq!(&rule["spec"], file, "run deploy/checks/sync-rules.sh");

    // And the jobs that the rules know are those of both ways to scrape.
    let configured = &yaml("deploy/prometheus/prometheus.yml")[0];
    let compose: BTreeSet<&str> = list(&configured["scrape_configs"])
        .iter()
        .map(|job| text(&job["job_name"]))
        .filter(|name| name.starts_with("ha-ingestor-"))
        .collect();
    let monitors = of_kind(&objects, "ServiceMonitor");
    let endpoints = monitors
        .iter()
        .flat_map(|monitor| list(&monitor["spec"]["endpoints"]));
    let cluster: BTreeSet<&str> = endpoints
        .map(|endpoint| text(&endpoint["relabelings"][0]["replacement"]))
        .collect();
    assert_eq!(compose, cluster);
}
