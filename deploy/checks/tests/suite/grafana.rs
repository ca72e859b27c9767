//! Dashboards, as files. That their queries answer is tested with the running product.

use super::prometheus::assert_known_metrics;
use crate::tools::{files, list, text, yaml};
use serde_json::Value;
use std::collections::BTreeSet;

const MEASUREMENTS: [&str; 5] = [
    "data_quality",
    "home_assistant_bus",
    "home_assistant_entities",
    "home_assistant_events",
    "weather",
];

#[test]
fn dashboards_read_what_the_product_writes_from_data_sources_that_are_provisioned() {
    let provisioned = &yaml("deploy/grafana/provisioning/datasources/datasources.yaml")[0];
    let sources: BTreeSet<&str> = list(&provisioned["datasources"])
        .iter()
        .map(|source| text(&source["uid"]))
        .collect();
    let mut uids = BTreeSet::new();
    for file in files("deploy/grafana/dashboards", ".json") {
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            uids.insert(text(&dashboard["uid"]).to_owned()),
            "{name}: its uid is another's"
        );
        let mut ids = BTreeSet::new();
        let mut queries = 0;
        for panel in list(&dashboard["panels"]) {
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{name}: an id twice"
            );
            let place = format!("{name}, panel {}", panel["title"]);
            assert!(
                panel["type"] == "row" || !list(&panel["targets"]).is_empty(),
                "{place}: no query"
            );
            for target in list(&panel["targets"]) {
                queries += 1;
                assert!(
                    sources.contains(text(&target["datasource"]["uid"])),
                    "{place}"
                );
                if let Some(expression) = target["expr"].as_str() {
                    assert_known_metrics(&place, expression);
                } else {
                    let query = text(&target["query"]);
                    let known = |name: &&str| query.contains(&format!("FROM \"{name}\""));
                    assert!(MEASUREMENTS.iter().any(known), "{place}: {query}");
                    assert!(query.contains("$timeFilter"), "{place}: reads all there is");
                }
            }
            let place = &panel["gridPos"];
            assert!(
                place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24,
                "{name}"
            );
        }
        assert!(queries >= 8, "{name}: {queries} queries");
    }
    assert_eq!(uids.len(), 4);
}
