//! The driver of one session: the protocol, its deadlines, and the requests between events.

use crate::connection::Link;
use crate::event::{ReceivedEvent, SourceEvent};
use crate::options::SourceOptions;
use crate::reader::{LastReceived, Received, unix_now_ns};
use crate::requester::{Request, RequestError, Waiting, refuse};
use crate::state::{ConnectionState, Counters, Ended, add};
use bytes::Bytes;
use ha_protocol::{Action, Session};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// Messages taken from the reader's queue in one go.
const MESSAGES_AT_ONCE_MAX: usize = 64;
/// How long Home Assistant may take over its half of the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Driver<'s> {
    options: &'s SourceOptions,
    session: Session,
    output: Output<'s>,
    /// The last step of the beginning: sending the token, then the subscriptions.
    begun_at: Instant,
    pinged_at: Option<Instant>,
    /// When a shutdown gives up waiting for what it waits for.
    stop_at: Option<Instant>,
    closing: bool,
}

/// Where actions go. Apart from the session, because they are told while it is borrowed.
struct Output<'s> {
    link: Link,
    writes: mpsc::Sender<Message>,
    events: mpsc::UnboundedSender<SourceEvent>,
    counters: &'s Counters,
    state: &'s watch::Sender<ConnectionState>,
    watched: &'s watch::Sender<Vec<u64>>,
    waiting: Waiting,
    ready: bool,
    reconnecting: bool,
    /// Home Assistant's own reason for the end. The reader may already have seen the close that
    /// follows it.
    refused: Option<Ended>,
    unsubscribed: bool,
    sent: bool,
}

impl<'s> Driver<'s> {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, each is another part"
    )]
    pub(crate) fn new(
        options: &'s SourceOptions,
        link: Link,
        writes: mpsc::Sender<Message>,
        events: mpsc::UnboundedSender<SourceEvent>,
        counters: &'s Counters,
        state: &'s watch::Sender<ConnectionState>,
        watched: &'s watch::Sender<Vec<u64>>,
        reconnecting: bool,
    ) -> Self {
        Self {
            options,
            session: Session::new(options.token.clone(), options.event_types.iter().cloned())
                .watching(options.watched_types.iter().cloned()),
            output: Output {
                link,
                writes,
                events,
                counters,
                state,
                watched,
                waiting: Waiting::default(),
                ready: false,
                reconnecting,
                refused: None,
                unsubscribed: false,
                sent: false,
            },
            begun_at: Instant::now(),
            pinged_at: None,
            stop_at: None,
            closing: false,
        }
    }

    pub(crate) fn was_ready(&self) -> bool {
        self.output.ready
    }

    /// Why the session ended.
    pub(crate) fn reason(&self) -> Ended {
        let refused = self.output.refused.clone();
        refused
            .or_else(|| self.output.link.reason())
            .unwrap_or(Ended::Shutdown)
    }

    /// Runs until the reader has ended and everything that it read is handed on.
    pub(crate) async fn run(
        &mut self,
        mut received: mpsc::UnboundedReceiver<Received>,
        requests: &mut mpsc::Receiver<Request>,
        last_received: LastReceived,
        shutdown: &CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(self.options.tick());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::with_capacity(MESSAGES_AT_ONCE_MAX);
        loop {
            tokio::select! {
                count = received.recv_many(&mut messages, MESSAGES_AT_ONCE_MAX) => {
                    if count == 0 {
                        return;
                    }
                    for message in messages.drain(..) {
                        self.on_message(&message);
                    }
                }
                request = requests.recv() => self.on_request(request),
                () = shutdown.cancelled(), if self.stop_at.is_none() => self.stop(),
                _ = ticks.tick() => self.on_tick(Instant::now(), &last_received),
            }
            if self.stop_at.is_some() && self.output.unsubscribed && !self.closing {
                self.close();
            }
            if self.output.events.is_closed() {
                self.output
                    .link
                    .end(Ended::Lost("nobody listens".to_owned()));
            }
        }
    }

    fn on_message(&mut self, message: &Received) {
        self.output.sent = false;
        let mut events = 0;
        let output = &mut self.output;
        let outcome = self.session.read(&message.text, |action| {
            events += u64::from(matches!(action, Action::Event { .. }));
            output.on_action(action, message);
        });
        add(&self.output.counters.events_received, events);
        if let Err(error) = outcome {
            self.output.refuse(Ended::Refused(error));
        }
        if self.output.sent {
            self.begun_at = Instant::now();
        }
    }

    fn on_request(&mut self, request: Option<Request>) {
        let Some(request) = request else { return };
        if !self.session.is_ready() {
            refuse(Some(request));
        } else if !self.output.waiting.has_room() {
            let _ = request.reply.send(Err(RequestError::Busy));
        } else if !request.reply.is_closed() {
            let (id, text) = self.session.request(&request.command, request.fields);
            self.output.waiting.insert(id, request.reply);
            self.output.write(Message::text(text));
        }
    }

    /// Shutdown: no more events, please; but everything that is on its way is taken.
    fn stop(&mut self) {
        self.stop_at = Some(Instant::now() + self.options.unsubscribe_timeout);
        for text in self.session.unsubscribe_all() {
            self.output.write(Message::text(text));
        }
        self.output.unsubscribed |= self.session.is_unsubscribed();
    }

    fn close(&mut self) {
        self.closing = true;
        self.stop_at = Some(Instant::now() + CLOSE_TIMEOUT);
        self.output.link.name(Ended::Shutdown);
        self.output.write(Message::Close(None));
    }

    fn on_tick(&mut self, now: Instant, last_received: &LastReceived) {
        if let Some(stop_at) = self.stop_at {
            if now >= stop_at && self.closing {
                self.output.link.end(Ended::Shutdown);
            } else if now >= stop_at {
                tracing::warn!("Home Assistant did not confirm the end of the subscriptions");
                self.close();
            }
            return;
        }
        if !self.output.ready {
            if now.duration_since(self.begun_at) >= self.options.auth_timeout {
                self.output
                    .link
                    .end(Ended::TimedOut("authenticating and subscribing"));
            }
            return;
        }
        let last_received = last_received.get();
        match self.pinged_at {
            Some(pinged_at) if last_received >= pinged_at => self.pinged_at = None,
            Some(pinged_at) if now.duration_since(pinged_at) >= self.options.pong_timeout => {
                self.output.link.end(Ended::Silent);
            }
            Some(_) => {}
            None if now.duration_since(last_received) >= self.options.ping_after => {
                let (_, text) = self.session.ping();
                self.output.write(Message::text(text));
                self.pinged_at = Some(now);
            }
            None => {}
        }
    }
}

impl Output<'_> {
    fn on_action(&mut self, action: Action<'_>, message: &Received) {
        match action {
            Action::Event { json, facts, .. } => self.tell(SourceEvent::Event(ReceivedEvent {
                json: slice(message, json),
                facts,
                received_at_ns: message.received_at_ns,
                permit: message.permit.clone(),
            })),
            Action::Watched { place } => self.watched.send_modify(|counts| {
                if let Some(count) = counts.get_mut(place) {
                    *count += 1;
                }
            }),
            Action::Send(text) => {
                self.sent = true;
                self.write(Message::text(text));
            }
            Action::Ready { ha_version } => {
                self.ready = true;
                add(&self.counters.reconnections, u64::from(self.reconnecting));
                tracing::info!(%ha_version, "connected to Home Assistant");
                self.state.send_replace(ConnectionState::Connected {
                    since: SystemTime::now(),
                    ha_version: ha_version.clone(),
                });
                self.tell(SourceEvent::Connected {
                    ha_version,
                    at_ns: unix_now_ns(),
                });
            }
            Action::AuthInvalid { message } => self.refuse(Ended::AuthInvalid(message)),
            Action::Result { id, outcome } => {
                let outcome = outcome.map(|json| match json {
                    // Where there was no result, these words are not a part of the message.
                    "null" => Bytes::from_static(b"null"),
                    json => slice(message, json),
                });
                self.waiting
                    .answer(id, outcome.map_err(RequestError::Refused));
            }
            // Anything received is a sign of life; the reader has noted it.
            Action::Pong { .. } => {}
            Action::Unsubscribed => self.unsubscribed = true,
            Action::Bad {
                error,
                excerpt,
                count,
            } => {
                add(&self.counters.messages_bad, count);
                self.tell(SourceEvent::Bad {
                    error,
                    excerpt,
                    count,
                    received_at_ns: message.received_at_ns,
                    permit: message.permit.clone(),
                });
            }
        }
    }

    fn refuse(&mut self, reason: Ended) {
        self.refused.get_or_insert_with(|| reason.clone());
        self.link.end(reason);
    }

    fn tell(&self, event: SourceEvent) {
        // A closed channel is seen after each turn.
        let _ = self.events.send(event);
    }

    fn write(&self, message: Message) {
        if self.writes.try_send(message).is_err() {
            self.link
                .end(Ended::Lost("Home Assistant does not read".to_owned()));
        }
    }
}

/// The part of a message that a borrowed slice of it points at.
fn slice(message: &Received, part: &str) -> Bytes {
    AsRef::<Bytes>::as_ref(&message.text).slice_ref(part.as_bytes())
}
