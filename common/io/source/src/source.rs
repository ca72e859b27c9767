//! Connect, drive, wait, and again.

use crate::connection::{Link, connect};
use crate::driver::Driver;
use crate::event::SourceEvent;
use crate::options::{OptionsError, SourceOptions};
use crate::queue::QueueBytes;
use crate::reader::{LastReceived, Reader};
use crate::requester::{REQUESTS_MAX, Request, Requester, refuse};
use crate::state::{ConnectionState, Counters, Ended, add};
use crate::writer::Writer;
use futures_util::StreamExt as _;
use ha_resilience::Backoff;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

/// The receiving end of a source.
#[derive(Debug)]
pub struct SourceEvents {
    // Unbounded in events, because the permits bound it in bytes.
    events: mpsc::UnboundedReceiver<SourceEvent>,
}

impl SourceEvents {
    /// The next event; `None` after [`Source::run`] has ended and everything was taken. Cancel
    /// safe.
    pub async fn recv(&mut self) -> Option<SourceEvent> {
        self.events.recv().await
    }

    /// Waits for at least one event and appends at most `limit` to `events`; 0 means the end.
    /// Cancel safe.
    pub async fn recv_many(&mut self, events: &mut Vec<SourceEvent>, limit: usize) -> usize {
        self.events.recv_many(events, limit).await
    }

    /// Whether none is there at the moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The next event, if one is there.
    pub fn try_recv(&mut self) -> Option<SourceEvent> {
        self.events.try_recv().ok()
    }
}

/// The connection to one Home Assistant.
#[derive(Debug)]
pub struct Source {
    options: SourceOptions,
    url: Url,
    queue: QueueBytes,
    counters: Arc<Counters>,
    state: watch::Sender<ConnectionState>,
    watched: watch::Sender<Vec<u64>>,
    events: mpsc::UnboundedSender<SourceEvent>,
    requests: mpsc::Receiver<Request>,
    requester: Requester,
}

impl Source {
    /// A source that does nothing until it is run.
    ///
    /// # Errors
    /// Where the URL is none that a WebSocket can be at, or nothing is subscribed to.
    pub fn new(options: SourceOptions) -> Result<(Self, SourceEvents), OptionsError> {
        let url = options.websocket_url()?;
        if options.event_types.is_empty() {
            return Err(OptionsError::NoEventTypes);
        }
        let (sender, events) = mpsc::unbounded_channel();
        let (request_sender, requests) = mpsc::channel(REQUESTS_MAX);
        let source = Self {
            url,
            queue: QueueBytes::new(options.queue_bytes_max),
            counters: Arc::default(),
            state: watch::Sender::new(ConnectionState::Connecting),
            watched: watch::Sender::new(vec![0; options.watched_types.len()]),
            events: sender,
            requests,
            requester: Requester {
                requests: request_sender,
                timeout: options.request_timeout,
            },
            options,
        };
        Ok((source, SourceEvents { events }))
    }

    /// A handle for commands over the connection.
    #[must_use]
    pub fn requester(&self) -> Requester {
        self.requester.clone()
    }

    /// The state of the connection, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// How many events of each of [`SourceOptions::watched_types`] have come, as it changes. They
    /// are nowhere else, so that a burst of them takes no room; what came while there was no
    /// connection is not among them.
    #[must_use]
    pub fn watched(&self) -> watch::Receiver<Vec<u64>> {
        self.watched.subscribe()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// A probe for the bytes that received messages take at the moment.
    pub fn queue_used_bytes(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let queue = self.queue.clone();
        move || queue.used_bytes()
    }

    /// Keeps the connection until `shutdown` is cancelled, then cancels the subscriptions and hands
    /// on everything that Home Assistant sent before it confirmed that. Also ends when the
    /// [`SourceEvents`] are dropped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(self.options.backoff_first, self.options.backoff_max);
        let mut auth_backoff = Backoff::new(
            self.options.auth_backoff_first,
            self.options.auth_backoff_max,
        );
        let mut was_ready_before = false;
        loop {
            let (ended, was_ready) = self.session(&shutdown, was_ready_before).await;
            was_ready_before |= was_ready;
            if was_ready {
                backoff.reset();
                auth_backoff.reset();
            }
            self.tell_ended(&ended, was_ready);
            if shutdown.is_cancelled() || self.events.is_closed() {
                return;
            }
            let delay = match ended {
                Ended::AuthInvalid(_) => auth_backoff.next_random(),
                _ => backoff.next_random(),
            };
            tracing::warn!(reason = %ended, ?delay, "no connection to Home Assistant, trying again");
            let queue = self.queue.clone();
            let wait = async {
                tokio::time::sleep(delay).await;
                queue.half_free().await;
            };
            if refusing(&mut self.requests, &self.events, &shutdown, wait)
                .await
                .is_none()
            {
                return;
            }
        }
    }

    /// One connection from its opening to the end of both its tasks, and whether it became ready.
    async fn session(
        &mut self,
        shutdown: &CancellationToken,
        was_ready_before: bool,
    ) -> (Ended, bool) {
        add(&self.counters.attempts, 1);
        // Boxed: a TLS handshake is 20 KB of state, which a session has no use for afterwards.
        let connecting = Box::pin(connect(&self.options, &self.url));
        let socket = match refusing(&mut self.requests, &self.events, shutdown, connecting).await {
            Some(Ok(socket)) => socket,
            Some(Err(ended)) => return (ended, false),
            None => return (Ended::Shutdown, false),
        };
        let link = Link::default();
        // If this future is dropped, the tasks must not live on.
        let _end_of_tasks = link.closed.clone().drop_guard();
        let (sink, stream) = socket.split();
        // Room for everything that a session ever sends at once, so that a full channel means a
        // peer that does not read.
        let messages_max = 2 * (self.options.event_types.len() + self.options.watched_types.len())
            + 2 * REQUESTS_MAX;
        let (writes, messages) = mpsc::channel(messages_max);
        let (out, received) = mpsc::unbounded_channel();
        let last_received = LastReceived::now();
        let reader = tokio::spawn(
            Reader {
                stream,
                link: link.clone(),
                queue: self.queue.clone(),
                out,
                last_received: last_received.clone(),
                counters: Arc::clone(&self.counters),
            }
            .run(),
        );
        let write_timeout = self.options.request_timeout;
        let writer = tokio::spawn(
            Writer {
                sink,
                link: link.clone(),
                messages,
                write_timeout,
            }
            .run(),
        );
        let mut driver = Driver::new(
            &self.options,
            link.clone(),
            writes,
            self.events.clone(),
            &self.counters,
            &self.state,
            &self.watched,
            was_ready_before,
        );
        driver
            .run(received, &mut self.requests, last_received, shutdown)
            .await;
        let (ended, was_ready) = (driver.reason(), driver.was_ready());
        drop(driver);
        link.closed.cancel();
        // Their panics would be bugs of ours; the session has ended either way.
        let _ = reader.await;
        let _ = writer.await;
        (ended, was_ready)
    }

    fn tell_ended(&self, ended: &Ended, was_ready: bool) {
        if was_ready {
            let at_ns = crate::reader::unix_now_ns();
            // A closed channel is seen right after.
            let _ = self.events.send(SourceEvent::Disconnected {
                reason: ended.clone(),
                at_ns,
            });
        }
        self.state.send_modify(|state| {
            *state = match ended {
                Ended::AuthInvalid(message) => ConnectionState::AuthInvalid {
                    message: message.clone(),
                },
                reason => {
                    let since = match state {
                        ConnectionState::Disconnected { since, .. } => *since,
                        _ => SystemTime::now(),
                    };
                    ConnectionState::Disconnected {
                        reason: reason.clone(),
                        since,
                    }
                }
            };
        });
    }
}

/// Runs `work` while refusing requests; `None` on shutdown or when nobody listens any more.
async fn refusing<T>(
    requests: &mut mpsc::Receiver<Request>,
    events: &mpsc::UnboundedSender<SourceEvent>,
    shutdown: &CancellationToken,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            () = events.closed() => return None,
            done = &mut work => return Some(done),
            request = requests.recv() => refuse(request),
        }
    }
}
