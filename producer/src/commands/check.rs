//! `producer check`: tries everything that `run` would use.

use crate::config::ServiceSettings;
use crate::{Config, Destination};
use ha_check::{Doctor, http_clock_ahead_s};
use ha_http::{ClientOptions, IntakeClient, IntakeError};
use ha_protocol::AccessToken;
use ha_source::{ConnectionState, Ended, Source, SourceEvent, SourceEvents, SourceOptions};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use url::Url;

/// For connecting, authenticating and subscribing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait for an event, where only an event tells Home Assistant's time.
const EVENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the command: exit code 0 only if all holds.
pub fn run(config: &Config) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(check(config)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn check(config: &Config) -> ExitCode {
    let mut doctor = Doctor::default();
    doctor.ok(format_args!(
        "settings: mode {}, instance {:?}",
        config.mode.as_str(),
        config.instance
    ));
    home_assistant(&mut doctor, config).await;
    match &config.destination {
        Destination::Broker { url, direct } => {
            doctor.broker(url, "producer", &config.tls).await;
            if let Some((sink, _)) = direct {
                doctor.database(sink, &config.tls).await;
            }
        }
        Destination::Service { workers, direct } => {
            service(&mut doctor, workers, config).await;
            if let Some((sink, _)) = direct {
                doctor.database(sink, &config.tls).await;
            }
        }
        Destination::Sink {
            sink,
            enrichment,
            weather,
            ..
        } => {
            doctor.database(sink, &config.tls).await;
            if enrichment.weather {
                doctor.weather(weather, &config.tls).await;
            }
        }
    }
    doctor
        .spool(&config.spool_path, config.spool_bytes_max)
        .await;
    doctor.finish()
}

/// Every worker that the name stands for, asked whether it would take events.
async fn service(doctor: &mut Doctor, workers: &ServiceSettings, config: &Config) {
    let tls = Arc::clone(&config.tls.client);
    let options = ClientOptions::new(workers.urls.clone(), workers.token.clone(), tls);
    let answers = match IntakeClient::new(options).probe().await {
        Ok(answers) => answers,
        Err(error) => {
            let remedy = "correct ENRICHMENT_SERVICE_URL";
            return doctor.fail(format_args!("workers: {error}"), remedy);
        }
    };
    for (worker, answer) in answers {
        match answer {
            Ok(()) => doctor.ok(format_args!("worker {worker}: takes events")),
            Err(error @ IntakeError::Refused(_)) => {
                let what = "nothing else of it was tried";
                doctor.fail(format_args!("worker: {error}"), what);
            }
            Err(error) => doctor.fail(
                format_args!("worker: {error}"),
                "start it with INTAKE_ADDR, or correct ENRICHMENT_SERVICE_URL",
            ),
        }
    }
}

/// One connection, with the token and the subscriptions of `run`.
async fn home_assistant(doctor: &mut Doctor, config: &Config) {
    let settings = &config.home_assistant;
    let token = AccessToken::new(settings.token.reveal());
    let mut options =
        SourceOptions::new(settings.url.clone(), token, Arc::clone(&config.tls.client));
    options.event_types = settings.event_types.clone();
    let what = format!("Home Assistant at {}", shown(&settings.url));
    let (source, mut events) = match Source::new(options) {
        Ok(made) => made,
        Err(error) => {
            return doctor.fail(
                format_args!("{what}: {error}"),
                "correct HOME_ASSISTANT_URL",
            );
        }
    };
    let mut state = source.state();
    let stop = CancellationToken::new();
    let running = tokio::spawn(source.run(stop.clone()));
    let decided = state.wait_for(|state| !matches!(state, ConnectionState::Connecting));
    let decided = tokio::time::timeout(CONNECT_TIMEOUT, decided).await;
    let address = "start Home Assistant, or correct HOME_ASSISTANT_URL";
    let connected = match decided.map(|state| state.map(|state| state.clone())) {
        Ok(Ok(ConnectionState::Connected { ha_version, .. })) => {
            let (types, url) = (settings.event_types.join(", "), shown(&settings.url));
            doctor.ok(format_args!(
                "Home Assistant {ha_version} at {url}: token accepted; subscribed to {types}"
            ));
            true
        }
        Ok(Ok(ConnectionState::AuthInvalid { message })) => {
            let remedy = "make a long-lived access token in Home Assistant (your profile, Security) \
                        and set HOME_ASSISTANT_TOKEN";
            doctor.fail(
                format_args!("{what}: the token is refused: {message}"),
                remedy,
            );
            false
        }
        Ok(Ok(ConnectionState::Disconnected { reason, .. })) => {
            let remedy = match &reason {
                Ended::Refused(_) => {
                    "the token's user must be an administrator to subscribe to events"
                }
                _ => address,
            };
            doctor.fail(format_args!("{what}: {reason}"), remedy);
            false
        }
        _ => {
            doctor.fail(
                format_args!("{what}: no answer in {} s", CONNECT_TIMEOUT.as_secs()),
                address,
            );
            false
        }
    };
    if connected {
        match clock_ahead_s(config, &mut events).await {
            Some(ahead_s) => doctor.clock("Home Assistant", ahead_s),
            None => doctor.ok("clock: Home Assistant does not tell its time, and no event came"),
        }
    }
    stop.cancel();
    drop(events);
    let _ = tokio::time::timeout(Duration::from_secs(6), running).await;
}

/// By the web server's date; where it tells none, by the first event.
async fn clock_ahead_s(config: &Config, events: &mut SourceEvents) -> Option<f64> {
    let mut url = config.home_assistant.url.clone();
    let scheme = if matches!(url.scheme(), "https" | "wss") {
        "https"
    } else {
        "http"
    };
    if url.set_scheme(scheme).is_ok()
        && let Some(ahead_s) = http_clock_ahead_s(url, &config.tls).await
    {
        return Some(ahead_s);
    }
    let first = async {
        loop {
            if let SourceEvent::Event(event) = events.recv().await? {
                let time = ha_event::peek(&event.json).ok()?.source_time?;
                return Some((time.as_nanos() - event.received_at_ns) as f64 / 1e9);
            }
        }
    };
    tokio::time::timeout(EVENT_TIMEOUT, first)
        .await
        .ok()
        .flatten()
}

/// A URL without user and password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.as_str().trim_end_matches('/').to_owned()
}
