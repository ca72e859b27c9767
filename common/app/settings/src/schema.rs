//! Which points events become, and the settings of Home Assistant's own schema.

use crate::Problems;
use crate::problems::list;
use clap::Args;
use ha_enrich::{HomeAssistantSchema, MeasurementAttribute, Schema};

/// The schema. All but the first setting are those of Home Assistant's `influxdb` integration, by
/// their names there, for the schema `homeassistant`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Schema")]
pub struct SchemaArgs {
    /// The points to write: native, or those that Home Assistant's own influxdb integration writes
    /// (no instance tag, no audit)
    #[arg(
        long,
        env = "INFLUXDB_SCHEMA",
        default_value = "native",
        value_name = "native|homeassistant"
    )]
    pub influxdb_schema: String,
    /// homeassistant: what names the measurement
    #[arg(
        long,
        env = "INFLUXDB_MEASUREMENT_ATTR",
        default_value = "unit_of_measurement",
        value_name = "unit_of_measurement|domain__device_class|entity_id"
    )]
    pub influxdb_measurement_attr: String,
    /// homeassistant: measurement of entities without a unit; unset: their entity id
    #[arg(long, env = "INFLUXDB_DEFAULT_MEASUREMENT", value_name = "NAME")]
    pub influxdb_default_measurement: Option<String>,
    /// homeassistant: measurement of everything
    #[arg(long, env = "INFLUXDB_OVERRIDE_MEASUREMENT", value_name = "NAME")]
    pub influxdb_override_measurement: Option<String>,
    /// homeassistant: tags of every point, such as source=HA,floor=1
    #[arg(
        long,
        env = "INFLUXDB_TAGS",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub influxdb_tags: String,
    /// homeassistant: attributes to make tags instead of fields, comma-separated
    #[arg(
        long,
        env = "INFLUXDB_TAGS_ATTRIBUTES",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub influxdb_tags_attributes: String,
    /// homeassistant: attributes to leave out, comma-separated
    #[arg(
        long,
        env = "INFLUXDB_IGNORE_ATTRIBUTES",
        default_value = "",
        hide_default_value = true,
        value_name = "LIST"
    )]
    pub influxdb_ignore_attributes: String,
}

impl SchemaArgs {
    /// Checks the settings.
    pub fn resolve(&self, problems: &mut Problems) -> Schema {
        let measurement_attr = match self.influxdb_measurement_attr.as_str() {
            "unit_of_measurement" => MeasurementAttribute::UnitOfMeasurement,
            "domain__device_class" => MeasurementAttribute::DomainDeviceClass,
            "entity_id" => MeasurementAttribute::EntityId,
            other => {
                let valid = "unit_of_measurement, domain__device_class or entity_id";
                problems.bad("INFLUXDB_MEASUREMENT_ATTR", other, valid);
                MeasurementAttribute::default()
            }
        };
        let mut tags = Vec::new();
        for tag in list(&self.influxdb_tags) {
            match tag.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
                    tags.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                _ => problems.bad("INFLUXDB_TAGS", &tag, "a comma list such as source=HA"),
            }
        }
        let schema = HomeAssistantSchema {
            measurement_attr,
            default_measurement: self.influxdb_default_measurement.clone(),
            override_measurement: self.influxdb_override_measurement.clone(),
            tags,
            tags_attributes: list(&self.influxdb_tags_attributes).into_iter().collect(),
            ignore_attributes: list(&self.influxdb_ignore_attributes).into_iter().collect(),
        };
        match self.influxdb_schema.as_str() {
            "homeassistant" => Schema::HomeAssistant(Box::new(schema)),
            "native" => {
                if schema != HomeAssistantSchema::default() {
                    problems.other(
                        "INFLUXDB_MEASUREMENT_ATTR, INFLUXDB_DEFAULT_MEASUREMENT, \
                         INFLUXDB_OVERRIDE_MEASUREMENT, INFLUXDB_TAGS, INFLUXDB_TAGS_ATTRIBUTES and \
                         INFLUXDB_IGNORE_ATTRIBUTES are of the schema homeassistant: set \
                         INFLUXDB_SCHEMA=homeassistant, or leave them unset",
                    );
                }
                Schema::Native
            }
            other => {
                problems.bad("INFLUXDB_SCHEMA", other, "native or homeassistant");
                Schema::Native
            }
        }
    }
}
