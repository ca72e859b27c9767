//! A name that one process at a time can hold: an exclusive queue, which the broker gives to one
//! connection and takes away when that connection ends, however it ends.

use crate::{Broker, BrokerError};
use ha_resilience::Backoff;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Connection, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between two attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where the user may not declare the queue, somebody has to change that first.
const NOT_ALLOWED_PAUSE: Duration = Duration::from_secs(60);

/// How often the connection is looked at: it does nothing, so nothing else tells that it is gone.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whose the name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimState {
    /// Not known yet.
    Asking,
    /// Ours.
    Held,
    /// It was ours until the connection was lost, and nobody is known to have it since.
    Lost(String),
    /// Another connection has it.
    Taken,
    /// The broker cannot be asked, and has not answered before.
    Unreachable(String),
    /// The user may not declare the queue: nobody can tell whose the name is.
    NotAllowed(String),
}

impl ClaimState {
    /// Whether its holder may do what only one may do at a time. A lost connection alone does not
    /// forbid it: only the broker's word that somebody else has the name does.
    #[must_use]
    pub fn permits(&self) -> bool {
        matches!(self, Self::Held | Self::Lost(_) | Self::NotAllowed(_))
    }
}

/// A claim to a name, kept up for as long as this value lives.
#[derive(Debug)]
pub struct Claim {
    state: watch::Receiver<ClaimState>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Claim {
    /// Begins to ask for the name, which is the name of a queue, at most 255 bytes.
    #[must_use]
    pub fn start(broker: Arc<Broker>, name: String) -> Self {
        let (sender, state) = watch::channel(ClaimState::Asking);
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(broker, name, sender, stop.clone()));
        Self { state, stop, task }
    }

    /// Whose the name is, to watch.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ClaimState> {
        self.state.clone()
    }

    /// Gives the name up, so that the next one gets it at once.
    pub async fn release(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn keep(
    broker: Arc<Broker>,
    name: String,
    state: watch::Sender<ClaimState>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    // Whether the last word of the broker was that the name is ours.
    let mut ours = false;
    loop {
        let asked = tokio::select! {
            asked = ask(&broker, &name) => asked,
            () = stop.cancelled() => return,
        };
        let pause = match asked {
            Ok(Asked::Ours(connection)) => {
                ours = true;
                backoff.reset();
                state.send_replace(ClaimState::Held);
                if !lost(&connection, &stop).await {
                    let closing = connection.close(200, "bye".into());
                    let _ = broker.within("connection.close", closing).await;
                    return;
                }
                let reason = "the connection that holds it was lost".to_owned();
                state.send_replace(ClaimState::Lost(reason));
                backoff.next_random()
            }
            Ok(Asked::Taken) => {
                ours = false;
                state.send_replace(ClaimState::Taken);
                backoff.next_random()
            }
            Ok(Asked::NotAllowed(reason)) => {
                // Said once a reason, not once an attempt.
                let new = ClaimState::NotAllowed(reason);
                state.send_if_modified(|state| {
                    *state != new && {
                        *state = new.clone();
                        true
                    }
                });
                NOT_ALLOWED_PAUSE
            }
            Err(error) => {
                state.send_if_modified(|state| {
                    // Whoever had the name when the broker was last heard has it still.
                    let known = matches!(state, ClaimState::Taken | ClaimState::NotAllowed(_));
                    if !known {
                        *state = match ours {
                            true => ClaimState::Lost(error.to_string()),
                            false => ClaimState::Unreachable(error.to_string()),
                        };
                    }
                    !known
                });
                backoff.next_random()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

enum Asked {
    Ours(Arc<Connection>),
    Taken,
    NotAllowed(String),
}

async fn ask(broker: &Broker, name: &str) -> Result<Asked, BrokerError> {
    let name = ShortString::try_new(name)
        .map_err(|_| BrokerError::Topology(format!("{name}: more than 255 bytes")))?;
    let connection = broker.connection_for_questions().await?;
    let creating = connection.create_channel();
    let channel = broker.within("channel.open", creating).await?;
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let declaring = async {
        let declared = channel
            .queue_declare(name, options, FieldTable::default())
            .await;
        Ok(declared)
    };
    match broker.within("queue.declare", declaring).await? {
        Ok(_) => Ok(Asked::Ours(connection)),
        Err(error) => match error.kind() {
            ErrorKind::ProtocolError(amqp) if amqp.get_id() == 405 => Ok(Asked::Taken),
            ErrorKind::ProtocolError(amqp) if amqp.get_id() == 403 => {
                Ok(Asked::NotAllowed(amqp.to_string()))
            }
            _ => Err(broker.error(&error)),
        },
    }
}

/// Waits until the connection is lost; false when `stop` came first.
async fn lost(connection: &Connection, stop: &CancellationToken) -> bool {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            _ = look.tick() => if !connection.status().connected() {
                return true;
            },
            () = stop.cancelled() => return false,
        }
    }
}
