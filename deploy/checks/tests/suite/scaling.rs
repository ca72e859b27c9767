//! What schemas miss about scaling: an HPA with min above max, a window of two hours or a metric
//! that nobody emits is valid YAML, and holds or stops the workers.

use super::kubernetes::{named, of_kind, rendered};
use super::prometheus::records;
use crate::tools::{list, text, yaml};
use serde_json::Value;

/// Kubernetes takes no longer window.
const WINDOW_S_MAX: u64 = 3_600;

fn assert_behavior(behavior: &Value) {
    let window = |direction: &str| {
        behavior[direction]["stabilizationWindowSeconds"]
            .as_u64()
            .unwrap()
    };
    assert!(
        window("scaleUp") <= 30 && window("scaleDown") >= 300,
        "fast up, slow down"
    );
    assert!(window("scaleDown") <= WINDOW_S_MAX);
    for direction in ["scaleUp", "scaleDown"] {
        for policy in list(&behavior[direction]["policies"]) {
            assert!(
                ["Pods", "Percent"].contains(&text(&policy["type"])),
                "{policy}"
            );
            assert!(policy["value"].as_u64().unwrap() > 0, "{policy}");
            let period = policy["periodSeconds"].as_u64().unwrap();
            assert!((1..=1_800).contains(&period), "{policy}");
        }
    }
}

fn bounds(minimum: &Value, maximum: &Value) {
    assert_eq!((minimum.as_u64(), maximum.as_u64()), (Some(1), Some(10)));
}

#[test]
fn the_hpa_scales_workers_by_a_metric_that_the_adapter_emits_and_by_cpu() {
    let objects = rendered("k8s/overlays/production");
    let hpas = of_kind(&objects, "HorizontalPodAutoscaler");
    assert_eq!(hpas.len(), 1);
    let spec = &hpas[0]["spec"];
    assert_eq!(hpas[0]["apiVersion"], "autoscaling/v2");
    bounds(&spec["minReplicas"], &spec["maxReplicas"]);
    assert_behavior(&spec["behavior"]);
    let target = &spec["scaleTargetRef"];
    let worker = named(&objects, text(&target["kind"]), text(&target["name"]));
    assert_eq!(worker["apiVersion"], target["apiVersion"]);
    assert!(
        worker["spec"]["replicas"].is_null(),
        "replicas belong to the HPA"
    );

    let metrics = list(&spec["metrics"]);
    assert_eq!(metrics.len(), 2);
    let external = &metrics[0]["external"];
    assert_eq!(external["target"]["type"], "AverageValue");
    let per_worker: u64 = text(&external["target"]["averageValue"]).parse().unwrap();
    // PREFETCH_EVENTS_MAX / 100 by default: what a worker holds without being behind.
    assert!(
        per_worker > 2 * 200,
        "a busy worker would look like a backlog"
    );
    let adapter = &yaml("deploy/prometheus/adapter.yml")[0];
    let rule = list(&adapter["externalRules"])
        .iter()
        .find(|rule| rule["name"]["as"] == external["metric"]["name"])
        .expect("the adapter has no such metric");
    let series = records()
        .into_iter()
        .find(|record| text(&rule["seriesQuery"]) == format!("{{__name__=\"{record}\"}}"))
        .expect("no rule records the adapter's series");
    assert!(text(&rule["metricsQuery"]).contains(&series));

    let resource = &metrics[1]["resource"];
    assert_eq!(resource["name"], "cpu");
    assert!(resource["target"]["averageUtilization"].as_u64().unwrap() > 0);
    let requests = &worker["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"];
    assert!(
        requests["cpu"].is_string(),
        "utilization is relative to a request"
    );
}

#[test]
fn keda_takes_the_place_of_the_hpa_with_the_same_query_and_bounds() {
    let production = rendered("k8s/overlays/production");
    let objects = rendered("k8s/overlays/keda");
    assert!(
        of_kind(&objects, "HorizontalPodAutoscaler").is_empty(),
        "two would stop both"
    );
    let hpa = &of_kind(&production, "HorizontalPodAutoscaler")[0]["spec"];
    let scaled = of_kind(&objects, "ScaledObject");
    assert_eq!(scaled.len(), 1);
    let spec = &scaled[0]["spec"];
    assert_eq!(spec["scaleTargetRef"], hpa["scaleTargetRef"]);
    bounds(&spec["minReplicaCount"], &spec["maxReplicaCount"]);
    assert_eq!(
        spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        hpa["behavior"]
    );

    let prometheus = &list(&spec["triggers"])[0];
    let adapter = &yaml("deploy/prometheus/adapter.yml")[0];
    assert_eq!(
        prometheus["metadata"]["query"],
        adapter["externalRules"][0]["metricsQuery"]
    );
    assert_eq!(
        prometheus["metadata"]["threshold"],
        hpa["metrics"][0]["external"]["target"]["averageValue"]
    );
    assert_eq!(
        prometheus["metadata"]["ignoreNullValues"], "false",
        "no series must not read as 0"
    );
    let cpu = &list(&spec["triggers"])[1];
    let utilization = hpa["metrics"][1]["resource"]["target"]["averageUtilization"].to_string();
    assert_eq!(text(&cpu["metadata"]["value"]), utilization);
}
