//! The scenarios beside `steady` and `drill`, short ones: each says what it is for, and misses
//! nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{CONTRACT_KEYS, Place, capture, loadtest};

/// They take seconds; one that waits for what never comes must not hold up all others.
const LONGEST: Duration = Duration::from_secs(240);

/// Runs a scenario and gives its report; it must have passed, with every event stored once.
async fn run(arguments: &str, place: &[String]) -> Value {
    let mut command = loadtest();
    command.arg("run").args(arguments.split(' '));
    let output = command.args(["--json", "-"]).args(place);
    let output = tokio::time::timeout(LONGEST, output.kill_on_drop(true).output());
    let output = output.await.expect("it does not end").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments}\n{text}\n{errors}"
    );
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["verdict"], "pass", "{report:#}");
    for name in ["missing", "duplicates", "unexplained"] {
        assert_eq!(report[name], 0, "{name} of {report:#}");
    }
    for key in CONTRACT_KEYS {
        assert!(report.get(key).is_some(), "{key} is not in {report:#}");
    }
    report
}

fn count(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap()
}

fn faults(report: &Value) -> Vec<&str> {
    let faults = report["faults"].as_array().unwrap().iter();
    faults
        .map(|fault| fault["fault"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_backlog_is_drained_whatever_the_database_s_latency() {
    let place = Place::new().await;
    let report = run(
        "backlog --events 1500 --workers 2 --sink-latency 20ms --rate 1000",
        &place.arguments("v2"),
    )
    .await;
    let cases = report["cases"].as_array().unwrap();
    let names: Vec<&Value> = cases.iter().map(|case| &case["case"]).collect();
    assert_eq!(names, ["2 workers", "2 workers, database + 20 ms"]);
    for case in cases {
        assert_eq!(count(case, "/events_stored"), 1_500, "{case:#}");
        let backlog = &case["backlog"];
        assert!(count(backlog, "/frames_queued") > 0, "{case:#}");
        let of = |name: &str| backlog[name].as_f64().unwrap();
        assert!(of("drain_s") > 0.0 && of("drain_events_per_s") > 0.0);
        assert!(case["bare"].is_null(), "that is beside one worker");
        for estimate in backlog["estimates"].as_array().unwrap() {
            assert!(
                estimate["took_s"].is_number() && estimate["backlog_seconds"].is_number(),
                "{case:#}"
            );
        }
        // The workers had ended, all well, before the first event.
        assert_eq!(case["faults"][0]["fault"], "workers-stopped");
        let exits = case["faults"][0]["exits"].as_array().unwrap();
        assert_eq!(exits.len(), 2);
    }
    assert_eq!(count(&report, "/events_stored"), 3_000);
}

#[tokio::test]
async fn what_one_worker_drains_stands_beside_a_bare_consumer() {
    let place = Place::new().await;
    let report = run(
        "backlog --events 1000 --workers 1 --rate 1000",
        &place.arguments("v1"),
    )
    .await;
    let case = &report["cases"][0];
    assert_eq!(
        case["bare"]["parts"],
        json!(["publish", "consume", "write"])
    );
    // Whole batches.
    assert!(count(case, "/bare/events") >= 1_000, "{case:#}");
    let of = |name: &str| case[name].as_f64().unwrap();
    assert!(of("bare_events_per_s") > 0.0 && of("ratio") > 0.0);
}

#[tokio::test]
async fn what_an_event_costs_is_measured_at_two_rates() {
    let place = Place::new().await;
    let report = run(
        "growth --rate 300 --times 3 --seconds 3",
        &place.arguments("v1"),
    )
    .await;
    let cases = report["cases"].as_array().unwrap();
    let names: Vec<&Value> = cases.iter().map(|case| &case["case"]).collect();
    assert_eq!(names, ["300 events/s", "900 events/s"]);
    for case in cases {
        assert!(case["load_s"].as_f64().unwrap() >= 2.5, "{case:#}");
        for role in ["producer", "worker", "loadtest"] {
            let of = |name: &str| case[role][name].as_f64().unwrap();
            assert!(of("cpu_s_load") > 0.0, "{case:#}");
            assert!(of("cpu_s_load") <= of("cpu_s"), "{case:#}");
            assert!(of("rss_ratio") > 0.0, "{case:#}");
        }
        let starts = case["starts"].as_array().unwrap();
        let names: Vec<&Value> = starts.iter().map(|start| &start["process"]).collect();
        assert_eq!(names, ["producer", "worker-1"]);
        assert!(
            starts
                .iter()
                .all(|start| start["seconds"].as_f64().unwrap() > 0.0)
        );
    }
    for role in ["producer", "worker"] {
        assert!(report["growth"][role]["ratio"].is_number(), "{report:#}");
    }
}

#[tokio::test]
async fn workers_restarted_one_by_one_are_given_nothing_again_that_was_settled() {
    let place = Place::new().await;
    let report = run(
        "steady --rolling-restart --rate 400 --seconds 6",
        &place.arguments("v2"),
    )
    .await;
    assert_eq!(faults(&report), ["rolling-restart"]);
    assert_eq!(report["workers"], 3);
    assert_eq!(report["redelivered_settled"], 0);
    let exits = report["faults"][0]["exits"].as_array().unwrap();
    let names: Vec<&Value> = exits.iter().map(|exit| &exit["process"]).collect();
    assert_eq!(names, ["worker-1", "worker-2", "worker-3"]);
    assert!(exits.iter().all(|exit| exit["exit_code"] == 0));
}

#[tokio::test]
async fn a_burst_is_stored_and_over() {
    let place = Place::new().await;
    let report = run(
        "burst --rate 30 --burst-seconds 2 --seconds 8",
        &place.arguments("v1"),
    )
    .await;
    assert_eq!(faults(&report), ["ha-burst"]);
    // 30 a second for 8 s, and 19 times as much more for 2.
    assert!(count(&report, "/events_fired") >= 1_300, "{report:#}");
    assert!(report["recovery_s"].is_number(), "{report:#}");
    let series = report["series"].as_array().unwrap();
    let fired = |sample: &Value| sample["fired"].as_u64().unwrap();
    assert!(
        series
            .windows(2)
            .all(|pair| fired(&pair[0]) <= fired(&pair[1])),
        "{report:#}"
    );
    let last = series.last().unwrap();
    for role in ["producer", "worker"] {
        assert!(
            last["usage"][role]["rss_mb"].as_f64().unwrap() > 1.0,
            "{report:#}"
        );
    }
}

#[tokio::test]
async fn a_reconnect_storm_ends_with_one_connection_and_every_event() {
    let place = Place::new().await;
    let report = run(
        "reconnect-storm --times 4 --rate 100 --seconds 12",
        &place.arguments("v2"),
    )
    .await;
    let faults = faults(&report);
    assert_eq!(
        faults,
        [
            "ha-restart",
            "net-producer-broker",
            "ha-reset",
            "net-worker-broker"
        ]
    );
    let home = &report["home_assistant"];
    assert_eq!(
        (&home["connections_open"], &home["subscriptions"]),
        (&json!(1), &json!(1))
    );
    assert!(count(home, "/authentications") >= 3, "{report:#}");
}

#[tokio::test]
async fn many_homes_share_a_broker_and_nobody_s_events_are_another_s() {
    let place = Place::new().await;
    let report = run(
        "homes --homes 3 --rate-per-home 20 --seconds 4 --workers 1 --entities 20",
        &place.arguments("v2"),
    )
    .await;
    assert_eq!(report["homes"], 3);
    assert!(
        (228..=240).contains(&count(&report, "/events_sent")),
        "{report:#}"
    );
    assert_eq!(report["events_sent"], report["events_stored"]);
    let expected = json!({
        "authentications": 3, "authentications_expected": 3,
        "connections_open": 3, "subscriptions": 3,
    });
    assert_eq!(report["home_assistant"], expected);
    // Three producers and a worker.
    assert_eq!(report["exits"].as_array().unwrap().len(), 4, "{report:#}");
}

#[tokio::test]
async fn a_capture_is_replayed_at_its_own_pace() {
    // 112 s of 3,000 events.
    let arguments = format!(
        "replay {} --speed 20 --mode inline --sink sqlite",
        capture().display()
    );
    let report = run(&arguments, &[]).await;
    assert!(count(&report, "/events_sent") > 2_000, "{report:#}");
    assert!(report["seconds"].as_f64().unwrap() >= 5.5, "{report:#}");
}

#[tokio::test]
async fn the_same_load_goes_through_all_modes() {
    let place = Place::new().await;
    let arguments = "modes --rate 200 --seconds 2 --workers 1";
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("modes.html");
    let arguments = format!("{arguments} --html {}", page.display());
    let report = run(&arguments, &place.arguments("v2")).await;
    let matrix = report["matrix"].as_array().unwrap();
    let modes: Vec<&Value> = matrix.iter().map(|row| &row["mode"]).collect();
    assert_eq!(modes, ["queue", "service", "inline", "disabled"]);
    for row in matrix {
        assert_eq!(
            (&row["missing"], &row["duplicates"]),
            (&json!(0), &json!(0))
        );
        assert!(count(row, "/stored") >= 380, "{row:#}");
        assert!(row["latency_ms"]["p99"].is_number(), "{row:#}");
        assert!(row["product_cpu_s_per_million"].is_number(), "{row:#}");
    }
    for case in report["cases"].as_array().unwrap() {
        let has_queue = case["mode"] == "queue";
        let has_workers = has_queue || case["mode"] == "service";
        assert_eq!(case["worker"].is_object(), has_workers, "{case:#}");
        let counted = if has_queue { json!(0) } else { Value::Null };
        for name in ["dead_lettered", "redelivered_settled"] {
            assert_eq!(case[name], counted, "{name} of {case:#}");
        }
        assert!(case["producer"]["cpu_s"].as_f64().unwrap() > 0.0);
        assert!(case["producer"]["rss_mb_max"].as_f64().unwrap() > 1.0);
    }
    let page = std::fs::read_to_string(page).unwrap();
    for mode in ["queue", "service", "inline", "disabled"] {
        assert!(page.contains(&format!("<h2>{mode} ")), "{mode}");
    }
    assert!(page.contains("<svg"));
}

#[tokio::test]
async fn a_ramp_ends_beside_the_bare_chain() {
    let place = Place::new().await;
    let report = run(
        "ramp --homes 2 --rate 100 --rate-max 200 --step-seconds 1 --workers 1",
        &place.arguments("v2"),
    )
    .await;
    assert_eq!(report["homes"], 2, "{report:#}");
    let steps = report["steps"].as_array().unwrap();
    assert!(!steps.is_empty(), "{report:#}");
    for step in steps {
        let reasons = step["reasons"].as_array().unwrap();
        assert_eq!(step["holds"], reasons.is_empty(), "{report:#}");
    }
    let bare = &report["bare"];
    assert_eq!(bare["parts"], json!(["publish", "consume", "write"]));
    assert!(count(bare, "/events") > 0, "{report:#}");
    assert!(bare["frame_bytes"].as_f64().unwrap() > 100.0, "{report:#}");
    assert!(bare["line_bytes"].as_f64().unwrap() > 50.0, "{report:#}");
    assert!(count(bare, "/line_series") > 50, "{report:#}");
    assert!(
        report["bare_unbounded_events_per_s"].as_f64().unwrap() > 0.0,
        "{report:#}"
    );
    // Both are judged alike; what holds on a busy machine is another question.
    let bare_steps = bare["steps"].as_array().unwrap();
    assert!(!bare_steps.is_empty(), "{report:#}");
    for step in bare_steps {
        let reasons = step["reasons"].as_array().unwrap();
        assert_eq!(step["holds"], reasons.is_empty(), "{report:#}");
        assert!(step["cpu_s_per_million"]["loadtest"].is_number());
    }
    let best = |steps: &[Value]| {
        let held = steps.iter().filter(|step| step["holds"] == true);
        let rates = held.map(|step| step["events_per_s"].as_f64().unwrap());
        rates.reduce(f64::max)
    };
    assert_eq!(report["bare_events_per_s"].as_f64(), best(bare_steps));
    assert_eq!(report["held_events_per_s"].as_f64(), best(steps));
    assert!(
        report["criterion"].as_str().unwrap().contains("p99"),
        "{report:#}"
    );
}

#[tokio::test]
async fn a_ramp_in_the_producer_stands_beside_a_bare_writer() {
    let place = Place::new().await;
    let report = run(
        "ramp --mode inline --rate 100 --rate-max 100 --step-seconds 1",
        &place.arguments("v1"),
    )
    .await;
    assert_eq!(report["bare"]["parts"], json!(["write"]));
    assert!(count(&report["bare"], "/events") > 0, "{report:#}");
}
