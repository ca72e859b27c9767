//! InfluxDB behind a front that takes its time, so that a test can act in the middle of a run.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use reqwest::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The front; it serves for as long as the test's runtime.
pub struct SlowDatabase {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    behind: String,
    client: Client,
    delay: Duration,
    writes: AtomicUsize,
}

impl SlowDatabase {
    /// Passes everything on to `behind`, every answer late by `delay`.
    pub async fn start(behind: String, delay: Duration) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let shared = Arc::new(Shared {
            behind,
            client,
            delay,
            writes: AtomicUsize::new(0),
        });
        let app = Router::new()
            .fallback(pass_on)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    /// Writes that were answered.
    pub fn writes(&self) -> usize {
        self.shared.writes.load(Ordering::Relaxed)
    }
}

async fn pass_on(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    let mut request = shared
        .client
        .post(format!("{}{uri}", shared.behind))
        .body(body);
    for name in ["authorization", "content-encoding", "content-type"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.unwrap();
    let (status, body) = (answer.status(), answer.bytes().await.unwrap());
    tokio::time::sleep(shared.delay).await;
    shared.writes.fetch_add(1, Ordering::Relaxed);
    (status, body)
}
