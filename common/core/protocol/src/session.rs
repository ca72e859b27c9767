//! One connection's conversation: authenticate, subscribe, read, unsubscribe.

use crate::action::{Action, HomeAssistantError};
use crate::message::{BadMessage, EventMessage, Message, read_messages, read_usual_events};
use crate::token::AccessToken;
use ha_event::Facts;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use thiserror::Error;

/// Bad messages told one by one out of one text; the rest of them is counted in one action.
const BAD_MESSAGES_TOLD_MAX: u64 = 16;
const EXCERPT_BYTES_MAX: usize = 200;

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A subscription was refused. To go on without it would lose its events in silence.
    #[error("the subscription to {event_type:?} was refused: {error}")]
    SubscriptionRefused {
        /// The event type of the subscription.
        event_type: String,
        /// Home Assistant's answer.
        error: HomeAssistantError,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing said yet; Home Assistant begins.
    Silent,
    Authenticating,
    Subscribing,
    Ready,
    Refused,
    Unsubscribing,
    Unsubscribed,
}

#[derive(Debug, Clone)]
struct Subscription {
    event_type: String,
    /// 0 until it is asked for.
    id: u64,
    confirmed: bool,
    /// The id of the command that cancels it.
    cancelled_by: Option<u64>,
    /// Its events are part of the stream.
    is_stream: bool,
    /// Its place in the list of [`Session::watching`].
    watched: Option<usize>,
}

impl Subscription {
    fn new(event_type: String) -> Self {
        Self {
            event_type,
            id: 0,
            confirmed: false,
            cancelled_by: None,
            is_stream: false,
            watched: None,
        }
    }
}

/// The state of one conversation. Make a new one for every connection.
#[derive(Debug)]
pub struct Session {
    token: AccessToken,
    subscriptions: Vec<Subscription>,
    phase: Phase,
    id_last: u64,
    /// The id of `supported_features`; 0 until it is sent.
    features_id: u64,
    ha_version: String,
    /// Those of a text, while it is read.
    events: Vec<EventMessage>,
}

impl Session {
    /// A conversation that will subscribe to each of these event types once, whatever the list
    /// repeats.
    pub fn new<T: Into<String>>(
        token: AccessToken,
        event_types: impl IntoIterator<Item = T>,
    ) -> Self {
        let mut session = Self {
            token,
            subscriptions: Vec::new(),
            phase: Phase::Silent,
            id_last: 0,
            features_id: 0,
            ha_version: String::new(),
            events: Vec::new(),
        };
        for event_type in event_types {
            session.to(event_type.into()).is_stream = true;
        }
        session
    }

    /// Subscribes besides to event types that only say that something else is to be read again:
    /// each of their events is an [`Action::Watched`] with the type's place in this list. One that
    /// Home Assistant refuses is done without: an older version, or a user without the right to
    /// it. To be called before the first message.
    #[must_use]
    pub fn watching<T: Into<String>>(mut self, event_types: impl IntoIterator<Item = T>) -> Self {
        for (place, event_type) in event_types.into_iter().enumerate() {
            self.to(event_type.into()).watched = Some(place);
        }
        self
    }

    /// The one subscription to this type.
    fn to(&mut self, event_type: String) -> &mut Subscription {
        let known = self
            .subscriptions
            .iter()
            .position(|known| known.event_type == event_type);
        let at = known.unwrap_or_else(|| {
            self.subscriptions.push(Subscription::new(event_type));
            self.subscriptions.len() - 1
        });
        &mut self.subscriptions[at]
    }

    /// Takes one text message and appends what it asks for to `actions`, in order.
    ///
    /// # Errors
    /// Where the conversation cannot go on. The actions of the whole text are there nevertheless.
    pub fn on_message<'a>(
        &mut self,
        text: &'a str,
        actions: &mut Vec<Action<'a>>,
    ) -> Result<(), ProtocolError> {
        self.read(text, |action| actions.push(action))
    }

    /// [`Session::on_message`] without the list: hands each action to `each` as it is found.
    ///
    /// # Errors
    /// Where the conversation cannot go on. The actions of the whole text are told nevertheless.
    pub fn read<'a>(
        &mut self,
        text: &'a str,
        mut each: impl FnMut(Action<'a>),
    ) -> Result<(), ProtocolError> {
        let mut events = std::mem::take(&mut self.events);
        let is_usual = read_usual_events(text, &mut events)
            && events
                .iter()
                .all(|event| self.subscription(event.subscription_id).is_some());
        if is_usual {
            for event in events.drain(..) {
                self.handle_event(
                    event.subscription_id,
                    &text[event.event],
                    Some(event.facts),
                    &mut each,
                );
            }
        }
        self.events = events;
        if is_usual {
            return Ok(());
        }
        let mut first_error = None;
        let mut bad_messages = 0u64;
        read_messages(text, |read| {
            let handled = match read {
                Ok(message) => self.handle(&message, text, &mut each),
                Err(bad) => Err(Problem::Bad(bad)),
            };
            match handled {
                Ok(()) => {}
                Err(Problem::Fatal(error)) => {
                    first_error.get_or_insert(error);
                }
                Err(Problem::Bad(bad)) => {
                    bad_messages += 1;
                    if bad_messages <= BAD_MESSAGES_TOLD_MAX {
                        each(self.bad(bad));
                    }
                }
            }
        });
        if bad_messages > BAD_MESSAGES_TOLD_MAX {
            each(Action::Bad {
                error: "more messages of the same text were bad".to_owned(),
                excerpt: String::new(),
                count: bad_messages - BAD_MESSAGES_TOLD_MAX,
            });
        }
        first_error.map_or(Ok(()), Err)
    }

    /// A command of any kind, with the id by which its [`Action::Result`] will come. Only after
    /// [`Action::Ready`]. `fields` is an object, or null for none; an `id` or `type` in it is
    /// replaced.
    #[must_use]
    pub fn request(&mut self, command: &str, fields: Value) -> (u64, String) {
        self.id_last += 1;
        let mut object = match fields {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        object.insert("id".to_owned(), self.id_last.into());
        object.insert("type".to_owned(), command.into());
        (self.id_last, Value::Object(object).to_string())
    }

    /// A sign of life to ask for; the answer is [`Action::Pong`]. Only after [`Action::Ready`].
    #[must_use]
    pub fn ping(&mut self) -> (u64, String) {
        self.request("ping", Value::Null)
    }

    /// Cancels every subscription that was asked for: the texts to send. Events keep coming until
    /// [`Action::Unsubscribed`]; where there was nothing to cancel, [`Session::is_unsubscribed`]
    /// holds at once. A second call sends nothing.
    #[must_use]
    pub fn unsubscribe_all(&mut self) -> Vec<String> {
        if matches!(self.phase, Phase::Unsubscribing | Phase::Unsubscribed) {
            return Vec::new();
        }
        let mut texts = Vec::new();
        for index in 0..self.subscriptions.len() {
            let subscription_id = self.subscriptions[index].id;
            if subscription_id != 0 {
                let (id, text) = self.request(
                    "unsubscribe_events",
                    json!({ "subscription": subscription_id }),
                );
                self.subscriptions[index].cancelled_by = Some(id);
                texts.push(text);
            }
        }
        self.phase = if texts.is_empty() {
            Phase::Unsubscribed
        } else {
            Phase::Unsubscribing
        };
        texts
    }

    /// Whether authentication is done and every subscription to the stream confirmed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether every subscription is cancelled, so that no more events will come.
    #[must_use]
    pub fn is_unsubscribed(&self) -> bool {
        self.phase == Phase::Unsubscribed
    }

    /// The event type of a subscription of this session.
    #[must_use]
    pub fn event_type(&self, subscription_id: u64) -> Option<&str> {
        self.subscription(subscription_id)
            .map(|subscription| subscription.event_type.as_str())
    }

    fn subscription(&self, id: u64) -> Option<&Subscription> {
        self.subscriptions
            .iter()
            .find(|subscription| subscription.id == id && id != 0)
    }

    fn handle<'a>(
        &mut self,
        message: &Message<'a>,
        text: &'a str,
        each: &mut impl FnMut(Action<'a>),
    ) -> Result<(), Problem<'a>> {
        match (&*message.kind, self.phase) {
            ("event", _) => {
                let id = message.id.unwrap_or(0);
                match message.event.map(RawValue::get) {
                    _ if self.subscription(id).is_none() => {
                        return bad(text, "an event of no subscription of ours");
                    }
                    Some(json) if json.starts_with('{') => {
                        self.handle_event(id, json, None, each);
                    }
                    _ => return bad(text, "an event message without an event object"),
                }
            }
            ("result", _) => return self.on_result(message, text, each),
            ("pong", _) => {
                if let Some(id) = message.id {
                    each(Action::Pong { id });
                }
            }
            ("auth_required", Phase::Silent) => {
                self.phase = Phase::Authenticating;
                let auth = json!({ "type": "auth", "access_token": self.token.reveal() });
                each(Action::Send(auth.to_string()));
            }
            ("auth_ok", Phase::Authenticating) => {
                self.ha_version = text_of(message.ha_version, "unknown");
                self.subscribe(each);
            }
            ("auth_invalid", Phase::Silent | Phase::Authenticating) => {
                self.phase = Phase::Refused;
                let message = text_of(message.message, "no reason given");
                each(Action::AuthInvalid {
                    message: self.token.withheld_from(message),
                });
            }
            // Types of versions to come, and what is out of turn, are passed over.
            _ => {}
        }
        Ok(())
    }

    fn handle_event<'a>(
        &self,
        subscription_id: u64,
        json: &'a str,
        facts: Option<Facts>,
        each: &mut impl FnMut(Action<'a>),
    ) {
        let Some(subscription) = self.subscription(subscription_id) else {
            return;
        };
        if let Some(place) = subscription.watched {
            each(Action::Watched { place });
        }
        if subscription.is_stream {
            each(Action::Event {
                subscription_id,
                json,
                facts,
            });
        }
    }

    fn subscribe<'a>(&mut self, each: &mut impl FnMut(Action<'a>)) {
        self.phase = Phase::Subscribing;
        // Must be the first command. Its answer is not waited for: versions that do not know it
        // answer with an error, and send single messages.
        let features = json!({ "features": { "coalesce_messages": 1 } });
        let (id, text) = self.request("supported_features", features);
        self.features_id = id;
        each(Action::Send(text));
        for index in 0..self.subscriptions.len() {
            let event_type = self.subscriptions[index].event_type.clone();
            let (id, text) = self.request("subscribe_events", json!({ "event_type": event_type }));
            self.subscriptions[index].id = id;
            each(Action::Send(text));
        }
        self.ready_if_confirmed(each);
    }

    fn ready_if_confirmed<'a>(&mut self, each: &mut impl FnMut(Action<'a>)) {
        // What is only watched is not waited for: Home Assistant takes commands in their order, so
        // that whatever is asked for from here on is asked for behind the subscription.
        let is_open = |s: &Subscription| s.is_stream && !s.confirmed;
        if self.phase == Phase::Subscribing && !self.subscriptions.iter().any(is_open) {
            self.phase = Phase::Ready;
            each(Action::Ready {
                ha_version: self.ha_version.clone(),
            });
        }
    }

    fn on_result<'a>(
        &mut self,
        message: &Message<'a>,
        text: &'a str,
        each: &mut impl FnMut(Action<'a>),
    ) -> Result<(), Problem<'a>> {
        let Some(id) = message.id else {
            return bad(text, "a result without an id");
        };
        let outcome = match message.success.map(RawValue::get) {
            Some("true") => Ok(message.result.map_or("null", RawValue::get)),
            Some("false") => Err(self.error_of(message.error)),
            _ => return bad(text, "a result that does not say whether it is a success"),
        };
        if let Some(index) = self.subscriptions.iter().position(|s| s.id == id) {
            match outcome {
                Ok(_) => {
                    self.subscriptions[index].confirmed = true;
                    self.ready_if_confirmed(each);
                }
                Err(error)
                    if self.phase == Phase::Subscribing && self.subscriptions[index].is_stream =>
                {
                    let event_type = self.subscriptions[index].event_type.clone();
                    let refused = ProtocolError::SubscriptionRefused { event_type, error };
                    return Err(Problem::Fatal(refused));
                }
                // Only watched, or refused while it is being cancelled: anyway.
                Err(_) => {}
            }
        } else if let Some(index) = self
            .subscriptions
            .iter()
            .position(|s| s.cancelled_by == Some(id))
        {
            // An error here means that there was no such subscription: no more events either way.
            self.subscriptions[index].cancelled_by = None;
            if self.phase == Phase::Unsubscribing
                && self.subscriptions.iter().all(|s| s.cancelled_by.is_none())
            {
                self.phase = Phase::Unsubscribed;
                each(Action::Unsubscribed);
            }
        } else if id != self.features_id {
            each(Action::Result { id, outcome });
        }
        Ok(())
    }

    fn error_of(&self, raw: Option<&RawValue>) -> HomeAssistantError {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            code: Value,
            message: Value,
        }
        let body: Body = raw
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        let said = |value: Value, otherwise: &str| match value {
            Value::String(text) => self.token.withheld_from(text),
            Value::Number(number) => number.to_string(),
            _ => otherwise.to_owned(),
        };
        HomeAssistantError {
            code: said(body.code, "unknown_error"),
            message: said(body.message, "no reason given"),
        }
    }

    fn bad<'a>(&self, bad: BadMessage<'_>) -> Action<'a> {
        // The token could begin in the last byte of the excerpt: look past its end.
        let seen = cut(
            bad.text,
            EXCERPT_BYTES_MAX.saturating_add(self.token.reveal().len()),
        );
        let seen = self.token.withheld_from(seen.to_owned());
        Action::Bad {
            error: self.token.withheld_from(bad.error),
            excerpt: cut(&seen, EXCERPT_BYTES_MAX).to_owned(),
            count: 1,
        }
    }
}

enum Problem<'a> {
    Bad(BadMessage<'a>),
    Fatal(ProtocolError),
}

fn bad<'a>(text: &'a str, error: &str) -> Result<(), Problem<'a>> {
    Err(Problem::Bad(BadMessage {
        error: error.to_owned(),
        text,
    }))
}

fn text_of(raw: Option<&RawValue>, otherwise: &str) -> String {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_else(|| otherwise.to_owned())
}

/// The first bytes of `text`, whole characters only.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
