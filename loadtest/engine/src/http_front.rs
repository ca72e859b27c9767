//! An HTTP front between a process and the database: passes requests on, or answers them itself as
//! a database in trouble does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

/// More than the database itself takes.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Belong to one connection, or are made again.
const OWN_HEADERS: [HeaderName; 4] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::HOST,
];

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The database's.
    Pass,
    /// This status, at once.
    Status(u16),
    /// The database's, after the latency.
    Late(Duration),
    /// None, for as long as this lasts; then the connection ends without one.
    Hang,
}

/// Listens on a loopback port of its own. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct HttpFront {
    address: SocketAddr,
    answer: watch::Sender<Answer>,
    /// Milliseconds before a request is passed on.
    latency_ms: Arc<AtomicU64>,
    disturbed: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Front {
    target: Url,
    client: reqwest::Client,
    answer: watch::Receiver<Answer>,
    latency_ms: Arc<AtomicU64>,
    disturbed: Arc<AtomicU64>,
}

impl HttpFront {
    /// Listens on `port` for `target`, of which only host and port count.
    pub(crate) async fn start(port: u16, target: Url) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let (answer, watching) = watch::channel(Answer::Pass);
        let (latency_ms, disturbed): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let front = Front {
            target,
            client: reqwest::Client::builder().no_proxy().no_gzip().build()?,
            answer: watching,
            latency_ms: Arc::clone(&latency_ms),
            disturbed: Arc::clone(&disturbed),
        };
        let router = Router::new().fallback(serve).with_state(front);
        let serving = tokio::spawn(async move {
            // It ends with its task only.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            answer,
            latency_ms,
            disturbed,
            serving,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests are answered so from now on.
    pub(crate) fn set(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Delays requests by this from now on before they are passed on.
    pub(crate) fn set_latency(&self, latency: Duration) {
        let millis = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.latency_ms.store(millis, Ordering::Relaxed);
    }

    /// Requests that did not get the database's answer.
    pub(crate) fn disturbed(&self) -> u64 {
        self.disturbed.load(Ordering::Relaxed)
    }
}

impl Drop for HttpFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(State(mut front): State<Front>, request: Request) -> Response {
    let answer = *front.answer.borrow_and_update();
    match answer {
        Answer::Pass => front.pass_or_say_why(request).await,
        Answer::Late(by) => {
            front.disturbed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(by).await;
            front.pass_or_say_why(request).await
        }
        Answer::Status(status) => {
            front.disturbed.fetch_add(1, Ordering::Relaxed);
            // Read whole first: an answer in the middle of a request is another fault.
            let _ = to_bytes(request.into_body(), BODY_BYTES_MAX).await;
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let text = serde_json::json!({"code": "drill", "message": "answered by the drill"});
            (status, text.to_string()).into_response()
        }
        Answer::Hang => {
            front.disturbed.fetch_add(1, Ordering::Relaxed);
            let _ = front
                .answer
                .wait_for(|answer| *answer != Answer::Hang)
                .await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}

impl Front {
    /// As a front does whose database may not answer.
    async fn pass_or_say_why(&self, request: Request) -> Response {
        self.pass(request).await.unwrap_or_else(|error| {
            let text = serde_json::json!({"code": "unavailable", "message": error.to_string()});
            (StatusCode::BAD_GATEWAY, text.to_string()).into_response()
        })
    }

    async fn pass(&self, request: Request) -> anyhow::Result<Response> {
        let (parts, body) = request.into_parts();
        let body: Bytes = to_bytes(body, BODY_BYTES_MAX).await?;
        let latency = Duration::from_millis(self.latency_ms.load(Ordering::Relaxed));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let mut url = self.target.clone();
        url.set_path(parts.uri.path());
        url.set_query(parts.uri.query());
        let answer = self
            .client
            .request(parts.method, url)
            .headers(forwarded(&parts.headers))
            .body(body)
            .send()
            .await?;
        let (status, headers) = (answer.status(), forwarded(answer.headers()));
        let mut response = Response::new(Body::from(answer.bytes().await?));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for own in OWN_HEADERS {
        headers.remove(own);
    }
    headers
}
