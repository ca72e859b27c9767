//! RabbitMQ, through lapin and deadpool-lapin: connecting, topology, publishing with confirms and
//! consuming with backpressure.
//!
//! Recovery has one owner, the loops that use this crate: lapin's own recovery does not bring back
//! channels that the broker closed, and says nothing when a connection goes. Every await has a time
//! limit. Publishing and consuming use separate connections, because a broker under a memory alarm
//! stops reading from connections that publish, and acknowledgements must not stop with them.

mod claim;
mod connector;
mod dead_letters;
mod depths;
mod message;
mod publisher;
mod subscription;
pub mod topology;

pub use claim::{Claim, ClaimState};
pub use connector::{Broker, BrokerError, BrokerOptions, TlsFiles};
pub use dead_letters::{DeadLetterReader, Death};
pub use depths::{Depths, follow_depths};
pub use message::{Header, Outgoing};
pub use publisher::{NotDelivered, Publisher, PublisherOptions, PublisherState};
pub use subscription::{
    ACKNOWLEDGEMENTS_AFTER_CANCEL_MAX, Delivery, Subscription, SubscriptionOptions,
};
