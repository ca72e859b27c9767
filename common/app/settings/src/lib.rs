//! Settings: every one a long flag and an environment variable, so that `--help` is the reference.
//!
//! clap reads texts only; meaning is given here, so that all problems come out in one message, each
//! with its variable, the value it got (secrets never) and what would be valid, before any socket
//! opens.

mod broker;
mod command;
mod home_assistant;
mod intake;
mod open;
mod pipeline;
mod problems;
mod process;
mod schema;
mod secret;
mod sink;
mod tls;
mod traces;
mod weather;

pub use broker::BrokerArgs;
pub use command::{exit_with_problems, parse};
pub use home_assistant::{FilterArgs, HomeAssistantArgs, HomeAssistantSettings, InstanceArgs};
pub use intake::{IntakeArgs, IntakeSettings, IntakeTokenArgs};
pub use open::{OpenError, broker};
pub use pipeline::{
    AttributeArgs, BatchingArgs, BatchingSettings, ExtraTagArgs, FieldSettings, WriteBatchArgs,
    WriteBatchSettings,
};
pub use problems::{Problems, boolean, number, seconds};
pub use process::{AdminArgs, AlertArgs, LogArgs, LogFormat};
pub use schema::SchemaArgs;
pub use secret::Secret;
pub use sink::{InfluxArgs, InfluxSettings, SinkArgs, SinkChoice, SqliteSettings};
pub use tls::{TlsArgs, TlsSettings};
pub use traces::{TraceArgs, TraceSettings};
pub use weather::{Place, WeatherArgs, WeatherProvider, WeatherSettings};
