//! `worker check`: tries everything that `run` would use.

use crate::Config;
use crate::dlq::{DeliveryLimit, delivery_limit};
use ha_assembly::check::Doctor;
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
    if doctor.broker(&config.amqp_url, "worker", &config.tls).await {
        letters(&mut doctor, config, management).await;
    }
    doctor.database(&config.sink, &config.tls).await;
    doctor.finish()
}

/// Letters that are read must not be dropped for it.
async fn letters(doctor: &mut Doctor, config: &Config, management: Option<&Url>) {
    let what = "dead letters: the queue ha.dead-letters";
    match delivery_limit(&config.amqp_url, management, &config.tls).await {
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
            "letters that are read would be dropped",
        ),
    }
}
