//! `worker check`: tries everything that `run` would use.

use crate::Config;
use crate::commands::dlq::{DeliveryLimit, delivery_limit};
use ha_check::Doctor;
use ha_settings::IntakeSettings;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::ExitCode;
use url::Url;

/// Runs the command: exit code 0 only if all holds.
pub fn run(config: &Config, management: Option<&Url>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(check(config, management)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn check(config: &Config, management: Option<&Url>) -> ExitCode {
    let mut doctor = Doctor::default();
    doctor.ok("settings");
    match &config.amqp_url {
        Some(url) => {
            if doctor.broker(url, "worker", &config.tls).await {
                dead_letters(&mut doctor, config, url, management).await;
            }
        }
        None => {
            let path = &config.dead_letters_file.path;
            doctor.spool(path, 0).await;
        }
    }
    if let Some(settings) = &config.intake {
        intake(&mut doctor, settings);
    }
    doctor.database(&config.sink, &config.tls).await;
    if config.enrichment.weather {
        doctor.weather(&config.weather, &config.tls).await;
    }
    doctor.finish()
}

/// Whether the address can be listened on, by listening for a moment.
fn intake(doctor: &mut Doctor, settings: &IntakeSettings) {
    let address = settings.address;
    let token = match settings.token {
        Some(_) => "a token is asked for",
        None => "no token: this machine only",
    };
    match TcpListener::bind(address) {
        Ok(_) => doctor.ok(format_args!(
            "intake: {address} can be listened on; {token}"
        )),
        Err(error) if error.kind() == ErrorKind::AddrInUse => doctor.warn(
            format_args!("intake: {address} is in use; {token}"),
            "if that is not the running worker, set another INTAKE_ADDR",
        ),
        Err(error) => doctor.fail(
            format_args!("intake: {address}: {error}"),
            "set INTAKE_ADDR to an address of this machine",
        ),
    }
}

/// Dead letters that are read must not be dropped for it.
async fn dead_letters(
    doctor: &mut Doctor,
    config: &Config,
    broker: &Url,
    management: Option<&Url>,
) {
    let what = "dead letters: the queue ha.dead-letters";
    match delivery_limit(broker, management, &config.tls).await {
        Ok(DeliveryLimit::None) => {
            doctor.ok(format_args!("{what} has no delivery limit"));
        }
        Ok(DeliveryLimit::Unknown) => doctor.fail(
            format_args!("{what} may have RabbitMQ 4's delivery limit of 20"),
            "set the policy delivery-limit = -1 on it (deploy/rabbitmq has it), and \
             RABBITMQ_MANAGEMENT_URL so that this can be seen",
        ),
        Err(error) => doctor.fail(
            format_args!("{what}: {error:#}"),
            "dead letters that are read would be dropped",
        ),
    }
}
