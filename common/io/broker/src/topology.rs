//! Exchanges and queues.
//!
//! Code declares the arguments that never change (type, dead-letter exchange, strategy, overflow),
//! or only checks that the queues are there where its user may not configure. Limits are policies,
//! which can be changed, because arguments of a queue can not.

use crate::connector::CALL_TIMEOUT;
use crate::{Broker, BrokerError};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

/// Batches go here; a topic exchange, so that a copy of one home's stream can be bound by anyone.
pub const EVENTS_EXCHANGE: &str = "ha.events";
/// Batches wait here for a worker.
pub const EVENTS_QUEUE: &str = "ha.events";
/// Dead letters go here.
pub const DEAD_LETTERS_EXCHANGE: &str = "ha.dead-letters";
/// Dead letters wait here for a person.
pub const DEAD_LETTERS_QUEUE: &str = "ha.dead-letters";
/// Single events of batches that killed workers.
pub const SUSPECTS_QUEUE: &str = "ha.suspects";

/// A suspect that came back this often becomes a dead letter: it is delivered once more than this.
pub const SUSPECTS_DELIVERY_LIMIT: i64 = 3;

struct QueueDefinition {
    name: &'static str,
    exchange: Option<&'static str>,
    routing_key: &'static str,
    arguments: fn() -> FieldTable,
}

/// The dead-letter side comes first: a queue whose dead-letter exchange leads nowhere keeps its
/// dead letters and tries again every three minutes.
static QUEUES: [QueueDefinition; 3] = [
    QueueDefinition {
        name: DEAD_LETTERS_QUEUE,
        exchange: Some(DEAD_LETTERS_EXCHANGE),
        routing_key: "",
        arguments: quorum,
    },
    QueueDefinition {
        name: EVENTS_QUEUE,
        exchange: Some(EVENTS_EXCHANGE),
        routing_key: "#",
        arguments: dead_lettering,
    },
    QueueDefinition {
        name: SUSPECTS_QUEUE,
        exchange: None,
        routing_key: "",
        arguments: suspects,
    },
];

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments
}

/// At-least-once dead-lettering works with `reject-publish` only; without it, it is silently
/// at most once (RabbitMQ documentation, quorum queues).
fn dead_lettering() -> FieldTable {
    let mut arguments = quorum();
    for (name, value) in [
        ("x-overflow", "reject-publish"),
        ("x-dead-letter-exchange", DEAD_LETTERS_EXCHANGE),
        ("x-dead-letter-strategy", "at-least-once"),
    ] {
        arguments.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    arguments
}

fn suspects() -> FieldTable {
    let mut arguments = dead_lettering();
    arguments.insert(
        "x-delivery-limit".into(),
        AMQPValue::LongLongInt(SUSPECTS_DELIVERY_LIMIT),
    );
    arguments
}

/// Something to declare.
#[derive(Clone)]
enum Thing {
    Exchange(&'static str, ExchangeKind),
    Queue(&'static QueueDefinition),
}

impl Thing {
    fn description(&self) -> String {
        match self {
            Self::Exchange(name, _) => format!("exchange {name}"),
            Self::Queue(queue) => format!("queue {}", queue.name),
        }
    }

    /// Declares, or with `passive` only checks. A refusal closes the channel, so each attempt has
    /// its own.
    async fn declare(&self, connection: &Connection, passive: bool) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        let none = FieldTable::default();
        match self {
            Self::Exchange(name, kind) => {
                let options = ExchangeDeclareOptions {
                    passive,
                    durable: true,
                    ..ExchangeDeclareOptions::default()
                };
                channel
                    .exchange_declare((*name).into(), kind.clone(), options, none)
                    .await?;
            }
            Self::Queue(queue) => {
                let options = QueueDeclareOptions {
                    passive,
                    durable: true,
                    ..QueueDeclareOptions::default()
                };
                let name = queue.name;
                channel
                    .queue_declare(name.into(), options, (queue.arguments)())
                    .await?;
                if let (Some(exchange), false) = (queue.exchange, passive) {
                    let options = QueueBindOptions::default();
                    let key = queue.routing_key.into();
                    channel
                        .queue_bind(name.into(), exchange.into(), key, options, none)
                        .await?;
                }
            }
        }
        channel.close(200, "done".into()).await
    }
}

/// Makes sure that every exchange and queue is there, and as it must be.
///
/// # Errors
/// [`BrokerError::Topology`] names the queue or exchange, the broker's words and the remedy.
pub async fn ensure(broker: &Broker, connection: &Connection) -> Result<(), BrokerError> {
    let exchanges = [
        Thing::Exchange(DEAD_LETTERS_EXCHANGE, ExchangeKind::Fanout),
        Thing::Exchange(EVENTS_EXCHANGE, ExchangeKind::Topic),
    ];
    for thing in exchanges.into_iter().chain(QUEUES.iter().map(Thing::Queue)) {
        let Err(error) = limited(broker, &thing, connection, false).await? else {
            continue;
        };
        let what = thing.description();
        match reply_code(&error) {
            Some(406) => {
                return Err(BrokerError::Topology(format!(
                    "{what} exists with other arguments than this version needs: {error}. \
                     Arguments can never change: drain and delete it and it will be made again, or \
                     point AMQP_URL at another virtual host; set limits by policy instead"
                )));
            }
            Some(403) => {
                if let Err(missing) = limited(broker, &thing, connection, true).await? {
                    return Err(BrokerError::Topology(format!(
                        "{what} is not there, and the user of AMQP_URL may not declare it: \
                         {missing}. Let a user with configure permission start once, or import \
                         the definitions under deploy/rabbitmq"
                    )));
                }
            }
            _ => return Err(broker.error(&error)),
        }
    }
    Ok(())
}

/// The broker's answer to one declaration, or that there was none in time.
async fn limited(
    broker: &Broker,
    thing: &Thing,
    connection: &Connection,
    passive: bool,
) -> Result<lapin::Result<()>, BrokerError> {
    tokio::time::timeout(CALL_TIMEOUT, thing.declare(connection, passive))
        .await
        .map_err(|_| BrokerError::Timeout {
            address: broker.address(),
            what: "a declaration",
        })
}

/// Messages that are ready in a queue, as the broker counts at this moment.
///
/// # Errors
/// [`BrokerError`], also where the queue does not exist.
pub async fn depth(broker: &Broker, channel: &Channel, queue: &str) -> Result<u32, BrokerError> {
    let (messages, _) = counts(broker, channel, queue).await?;
    Ok(messages)
}

/// Messages that are ready in a queue, and how many consumers it has.
pub(crate) async fn counts(
    broker: &Broker,
    channel: &Channel,
    queue: &str,
) -> Result<(u32, u32), BrokerError> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    let declared = broker.within("queue.declare", declared).await?;
    Ok((declared.message_count(), declared.consumer_count()))
}

fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(amqp) => Some(amqp.get_id()),
        _ => None,
    }
}
