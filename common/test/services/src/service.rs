//! The services by name.

/// One real service, as `services.sh` starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// RabbitMQ with the management and Prometheus plugins.
    RabbitMq,
    /// InfluxDB 1.x.
    InfluxDb,
    /// nginx giving InfluxDB 1.x the shape of the v2 API; of use only together with
    /// [`Service::InfluxDb`].
    InfluxDbV2Front,
    /// VictoriaMetrics.
    VictoriaMetrics,
    /// Prometheus.
    Prometheus,
    /// Alertmanager.
    Alertmanager,
    /// Mosquitto, an MQTT broker.
    Mosquitto,
    /// Home Assistant, onboarded, with its demo integration, recorder and history.
    HomeAssistant,
}

impl Service {
    /// What most tests need, and what `services.sh` starts when no names are given.
    pub const DEFAULT: [Self; 3] = [Self::RabbitMq, Self::InfluxDb, Self::InfluxDbV2Front];

    /// The name that `services.sh` knows it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq",
            Self::InfluxDb => "influxdb",
            Self::InfluxDbV2Front => "nginx",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Prometheus => "prometheus",
            Self::Alertmanager => "alertmanager",
            Self::Mosquitto => "mosquitto",
            Self::HomeAssistant => "home-assistant",
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
