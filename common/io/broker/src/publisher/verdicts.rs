//! What became of each message, from confirms and returned messages.

use super::not_delivered::NotDelivered;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::Confirmation;
use std::collections::HashSet;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Where a verdict goes.
pub(super) type Answer = oneshot::Sender<Result<(), NotDelivered>>;

/// A message, who waits for its verdict, and its confirm; `None` if that did not come in time.
pub(super) type Confirmed = (Uuid, Answer, Option<lapin::Result<Confirmation>>);

/// Tells the verdict.
pub(super) fn answer_with(answer: Answer, verdict: Result<(), NotDelivered>) {
    // The caller may be gone; the message is then delivered anyway, or not.
    let _ = answer.send(verdict);
}

/// Decides what became of each message. Delivered means `Ack(None)` and not returned.
///
/// The broker sends a returned message before its confirm, and lapin hands it out with the next
/// confirm that it completes: a neighbour's, when one acknowledgement covers several, because it
/// completes those in no order. A confirm without a returned message says that none was waiting:
/// its own was carried by one that was completed earlier, or there is none. So all that are
/// complete are looked at before any is judged, and once a returned message was seen, everything
/// waits until every confirm is there: by then every returned message has been handed out.
#[derive(Default)]
pub(super) struct Verdicts {
    returned: HashSet<String>,
    held: Vec<(Uuid, Answer, bool)>,
}

impl Verdicts {
    /// Whether returned messages were seen: nothing more is published until it is known which.
    pub(super) fn is_waiting(&self) -> bool {
        !self.returned.is_empty()
    }

    /// Takes a confirm and all others that are complete. The reason, if the channel is of no use.
    pub(super) fn confirmed<F: Future<Output = Confirmed>>(
        &mut self,
        first: Confirmed,
        unconfirmed: &mut FuturesUnordered<F>,
    ) -> Option<String> {
        let mut broken = self.take(first);
        while let Some(Some(next)) = tokio::task::unconstrained(unconfirmed.next()).now_or_never() {
            broken = broken.or(self.take(next));
        }
        // What is held when the channel breaks is dropped with it: its publishers take it for lost.
        if self.returned.is_empty() || (unconfirmed.is_empty() && broken.is_none()) {
            self.answer();
        }
        broken
    }

    /// Takes what is complete at the end of a channel; the broker's words, if it said why.
    pub(super) fn settle_all<F: Future<Output = Confirmed>>(
        &mut self,
        unconfirmed: &mut FuturesUnordered<F>,
    ) -> Option<String> {
        let first = tokio::task::unconstrained(unconfirmed.next())
            .now_or_never()
            .flatten()?;
        self.confirmed(first, unconfirmed)
    }

    fn take(&mut self, (id, answer, outcome): Confirmed) -> Option<String> {
        let (acknowledged, carried) = match outcome {
            None => {
                answer_with(answer, Err(NotDelivered::Timeout));
                return Some(NotDelivered::Timeout.to_string());
            }
            Some(Err(error)) => {
                answer_with(answer, Err(NotDelivered::Lost));
                return Some(closed_because(&error));
            }
            Some(Ok(Confirmation::Ack(carried))) => (true, carried),
            Some(Ok(Confirmation::Nack(carried))) => (false, carried),
            Some(Ok(Confirmation::NotRequested)) => {
                answer_with(answer, Err(NotDelivered::Lost));
                return Some("the channel is not in confirm mode".into());
            }
        };
        if let Some(id) = carried.and_then(|message| message.properties.message_id().clone()) {
            self.returned.insert(id.to_string());
        }
        self.held.push((id, answer, acknowledged));
        None
    }

    fn answer(&mut self) {
        for (id, answer, acknowledged) in self.held.drain(..) {
            let returned = !self.returned.is_empty() && self.returned.contains(&id.to_string());
            let verdict = match (returned, acknowledged) {
                (true, _) => Err(NotDelivered::Returned),
                (false, true) => Ok(()),
                (false, false) => Err(NotDelivered::Nack),
            };
            answer_with(answer, verdict);
        }
        self.returned.clear();
    }
}

fn closed_because(error: &lapin::Error) -> String {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(amqp) if amqp.get_id() == 403 => {
            format!("the user of AMQP_URL may not publish; give it write permission: {amqp}")
        }
        lapin::ErrorKind::ProtocolError(amqp) => format!("the broker closed the channel: {amqp}"),
        _ => format!("{}: {error}", NotDelivered::Lost),
    }
}
