//! A Home Assistant that does exactly what a test tells it to, and nothing else.

use futures_util::{SinkExt as _, StreamExt as _};
use ha_protocol::AccessToken;
use ha_source::{ConnectionState, Source, SourceEvent, SourceEvents, SourceOptions};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};
use tokio_util::sync::CancellationToken;
use url::Url;

pub const TOKEN: &str = "a-long-lived-token";
/// Nothing here takes a tenth of this; whatever takes longer has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Home {
    pub url: Url,
    conversations: mpsc::UnboundedReceiver<Conversation>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Home {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    pub async fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let port = listener.local_addr().unwrap().port();
        let url = Url::parse(&format!("{scheme}://localhost:{port}/prefix/")).unwrap();
        let (sender, conversations) = mpsc::unbounded_channel();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream: Box<dyn Stream> = match &tls {
                    None => Box::new(stream),
                    Some(tls) => {
                        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(tls));
                        // A client that does not trust us hangs up here.
                        let Ok(stream) = acceptor.accept(stream).await else {
                            continue;
                        };
                        Box::new(stream)
                    }
                };
                count.fetch_add(1, Ordering::SeqCst);
                let config = WebSocketConfig::default().max_message_size(None);
                if let Ok(socket) = accept_async_with_config(stream, Some(config)).await {
                    let _ = sender.send(Conversation {
                        socket,
                        subscriptions: Vec::new(),
                    });
                }
            }
        });
        Self {
            url,
            conversations,
            accepted,
            accepting,
        }
    }

    /// The next connection, as soon as there is one.
    pub async fn next(&mut self) -> Conversation {
        timeout(DEADLINE, self.conversations.recv())
            .await
            .expect("a connection")
            .unwrap()
    }

    /// The next connection, authenticated and subscribed.
    pub async fn next_ready(&mut self) -> Conversation {
        let mut conversation = self.next().await;
        conversation.begin().await;
        conversation
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Whether a connection was opened that no test has asked for.
    pub fn has_another(&mut self) -> bool {
        self.conversations.try_recv().is_ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

pub struct Conversation {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// Ids and event types.
    pub subscriptions: Vec<(u64, String)>,
}

impl Conversation {
    pub async fn send(&mut self, text: impl Into<String>) {
        timeout(DEADLINE, self.socket.send(Message::text(text.into())))
            .await
            .unwrap()
            .unwrap();
    }

    /// Sends, and says whether the other side still took it.
    pub async fn try_send(&mut self, text: impl Into<String>) -> bool {
        let sent = timeout(DEADLINE, self.socket.send(Message::text(text.into()))).await;
        sent.expect("a reader that reads").is_ok()
    }

    pub async fn event(&mut self, number: usize) {
        let (id, _) = self.subscriptions[0];
        self.send(event(id, number)).await;
    }

    /// The next text; `None` at the end of the connection.
    pub async fn receive(&mut self) -> Option<Value> {
        loop {
            match timeout(DEADLINE, self.socket.next())
                .await
                .expect("a message")
            {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }

    /// The code of the close frame that comes next, 1005 for none.
    pub async fn receive_close(&mut self) -> Option<u16> {
        match timeout(DEADLINE, self.socket.next())
            .await
            .expect("a message")
        {
            Some(Ok(Message::Close(frame))) => Some(frame.map_or(1005, |f| f.code.into())),
            other => panic!("{other:?} instead of a close frame"),
        }
    }

    pub async fn begin(&mut self) {
        self.send(r#"{"type":"auth_required","ha_version":"2025.4.4"}"#)
            .await;
        let auth = self.receive().await.unwrap();
        assert_eq!(auth, json!({"type": "auth", "access_token": TOKEN}));
        self.send(r#"{"type":"auth_ok","ha_version":"2025.4.4"}"#)
            .await;
        let features = self.receive().await.unwrap();
        assert_eq!(features["type"], "supported_features");
        for expected in ["state_changed", "call_service"] {
            let command = self.receive().await.unwrap();
            assert_eq!(command["type"], "subscribe_events");
            assert_eq!(command["event_type"], expected);
            self.subscriptions
                .push((command["id"].as_u64().unwrap(), expected.to_owned()));
        }
        let mut results = vec![result(&features, true)];
        results.extend(
            self.subscriptions
                .iter()
                .map(|(id, _)| result(&json!({"id": id}), true)),
        );
        self.send(Value::Array(results).to_string()).await;
    }

    pub async fn close(mut self) {
        // The other side may hang up first.
        let _ = timeout(DEADLINE, self.socket.close(None)).await.unwrap();
        while let Ok(Some(Ok(_))) = timeout(DEADLINE, self.socket.next()).await {}
    }
}

pub fn event(id: u64, number: usize) -> String {
    format!(r#"{{"id":{id},"type":"event","event":{{"n":{number}}}}}"#)
}

pub fn result(command: &Value, success: bool) -> Value {
    json!({"id": command["id"], "type": "result", "success": success, "result": null})
}

/// A running source.
pub struct Running {
    pub events: SourceEvents,
    pub requester: ha_source::Requester,
    pub counters: Arc<ha_source::Counters>,
    pub state: tokio::sync::watch::Receiver<ConnectionState>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

pub fn options(home: &Home) -> SourceOptions {
    options_trusting(home, RootCertStore::empty())
}

pub fn options_trusting(home: &Home, roots: RootCertStore) -> SourceOptions {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut options = SourceOptions::new(home.url.clone(), AccessToken::new(TOKEN), Arc::new(tls));
    options.event_types = vec!["state_changed".to_owned(), "call_service".to_owned()];
    options.backoff_first = Duration::from_millis(2);
    options.backoff_max = Duration::from_millis(20);
    options.auth_backoff_first = Duration::from_millis(2);
    options.auth_backoff_max = Duration::from_millis(20);
    options
}

pub fn run(options: SourceOptions) -> Running {
    let (source, events) = Source::new(options).unwrap();
    let shutdown = CancellationToken::new();
    Running {
        events,
        requester: source.requester(),
        counters: source.counters(),
        state: source.state(),
        shutdown: shutdown.clone(),
        task: tokio::spawn(source.run(shutdown)),
    }
}

impl Running {
    /// The next event in words; `end` after the last.
    pub async fn next(&mut self) -> String {
        match timeout(DEADLINE, self.events.recv())
            .await
            .expect("an event of the source")
        {
            None => "end".to_owned(),
            Some(SourceEvent::Connected { ha_version, at_ns }) => {
                assert!(at_ns > 0);
                format!("connected {ha_version}")
            }
            Some(SourceEvent::Event(event)) => {
                assert!(event.received_at_ns > 0);
                String::from_utf8(event.json.to_vec()).unwrap()
            }
            Some(SourceEvent::Bad { count, .. }) => format!("bad {count}"),
            Some(SourceEvent::Disconnected { reason, .. }) => format!("disconnected: {reason}"),
        }
    }

    pub async fn expect(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.next().await, *expected);
        }
    }

    pub async fn state(&mut self, what: impl FnMut(&ConnectionState) -> bool) -> ConnectionState {
        timeout(DEADLINE, self.state.wait_for(what))
            .await
            .expect("a state")
            .unwrap()
            .clone()
    }

    /// Stops the source and checks that it says no more than this.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.task)
            .await
            .expect("the end of the source")
            .unwrap();
        while self.events.try_recv().is_some() {}
    }
}

/// Waits until a counter has reached a value.
pub async fn reached(counter: &std::sync::atomic::AtomicU64, value: u64) {
    let reached = async {
        while counter.load(Ordering::Relaxed) < value {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, reached)
        .await
        .expect("the counter's value");
}
