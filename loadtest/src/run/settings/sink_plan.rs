use ha_settings::InfluxSettings;
use ha_sink::Api;

/// Where points go.
#[derive(Debug, Clone)]
pub enum SinkPlan {
    /// An InfluxDB of this run, written to by the given API.
    PrivateInflux(Api),
    /// An InfluxDB that is there.
    Influx(Box<InfluxSettings>),
    /// A file of this run.
    Sqlite,
    /// Nowhere.
    Null,
}

impl SinkPlan {
    /// The setting's word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PrivateInflux(_) | Self::Influx(_) => "influxdb",
            Self::Sqlite => "sqlite",
            Self::Null => "null",
        }
    }
}
