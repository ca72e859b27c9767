//! What is taken, and what the answer says of it.

use crate::support::{TOKEN, batch, event, http, invalid_event, post, server};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use std::io::Write as _;

#[tokio::test(flavor = "multi_thread")]
async fn one_event_an_array_and_a_batch_are_stored_before_the_answer() {
    let (server, http) = (server().await, http());
    assert_eq!(
        post(&http, &server.url(), event(1)).await,
        (200, json!({"results": [{"status": "stored"}]}))
    );
    assert_eq!(server.points(), 1);

    let array = format!(
        " [{}] ",
        (2..300).map(event).collect::<Vec<_>>().join(",\n")
    );
    let (status, answer) = post(&http, &server.url(), array.clone()).await;
    assert_eq!(
        (status, answer["results"].as_array().unwrap().len()),
        (200, 298)
    );
    assert_eq!(server.points(), 299);
    assert_eq!(post(&http, &server.url(), array).await.0, 200, "and again");
    assert_eq!(server.points(), 299, "the same events are the same points");

    let batch = batch(&(300..400).map(event).collect::<Vec<_>>());
    let posted = http.post(server.url()).bearer_auth(TOKEN);
    let posted = posted.header("content-type", ha_batch::CONTENT_TYPE);
    let response = posted
        .header("prefer", "return=minimal")
        .body(batch)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            response.text().await.unwrap().as_str()
        ),
        (204, "")
    );
    assert_eq!(server.points(), 399);
    assert_eq!(
        server.count("fields ->> 'origin' = 'rest'"),
        299,
        "the batch's are live"
    );
    assert_eq!(server.count("fields ->> 'sequence' = 100"), 1);

    assert_eq!(
        post(&http, &server.url(), "[]").await,
        (200, json!({"results": []}))
    );
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_mixed_array_has_its_own_result() {
    let (server, http) = (server().await, http());
    let large = event(3).replace("\"W\"", &format!("\"{}\"", "W".repeat(300 << 10)));
    let parts = [
        event(1),
        invalid_event(),
        "7".into(),
        event(2),
        large,
        "{\"a\":1}".into(),
    ];
    let (status, answer) = post(&http, &server.url(), format!("[{}]", parts.join(","))).await;
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results
        .iter()
        .map(|r| r["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, 207);
    assert_eq!(
        statuses,
        [
            "stored",
            "dead_letter",
            "rejected",
            "stored",
            "rejected",
            "rejected"
        ]
    );
    assert_eq!(results[1]["reason"], "invalid_event");
    assert!(
        results[1]["error"]
            .as_str()
            .unwrap()
            .contains("no entity at all"),
        "{answer}"
    );
    assert!(
        results[4]["error"]
            .as_str()
            .unwrap()
            .contains("EVENT_BYTES_MAX"),
        "{answer}"
    );
    assert_eq!((server.points(), server.dead_letters.all().len()), (2, 1));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bodies_and_instances_by_query() {
    let (server, http) = (server().await, http());
    let array = format!("[{}]", (0..2_000).map(event).collect::<Vec<_>>().join(","));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(array.as_bytes()).unwrap();
    // As `zstd -c` does it: the size is not said.
    let zstd = zstd::stream::encode_all(array.as_bytes(), 3).unwrap();
    for (encoding, compressed) in [("gzip", gzip.finish().unwrap()), ("zstd", zstd)] {
        let response = http
            .post(format!("{}?instance=villa%20{encoding}", server.url()))
            .bearer_auth(TOKEN)
            .header("content-type", "application/json; charset=utf-8")
            .header("content-encoding", encoding)
            .body(compressed)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let stored = server.count(&format!("tags ->> 'instance' = 'villa {encoding}'"));
        assert_eq!(stored, 2_000, "{encoding}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_has_arrived_and_then_closes() {
    let (server, http) = (server().await, http());
    let array = format!("[{}]", (0..5_000).map(event).collect::<Vec<_>>().join(","));
    let (url, stop) = (server.url(), server.stop.clone());
    let posting = tokio::spawn(async move { post(&http, &url, array).await.0 });
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while server.points() == 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    stop.cancel();
    assert_eq!(posting.await.unwrap(), 200);
    assert_eq!(server.points(), 5_000);
    let address = server.address;
    server.end().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
