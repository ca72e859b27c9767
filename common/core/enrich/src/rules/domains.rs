//! Lists out of Home Assistant's documentation.

/// Domains whose entities are on or off
/// (<https://developers.home-assistant.io/docs/core/entity>).
pub(super) const ON_OFF_DOMAINS: &[&str] = &[
    "automation",
    "binary_sensor",
    "calendar",
    "fan",
    "humidifier",
    "input_boolean",
    "light",
    "remote",
    "schedule",
    "script",
    "siren",
    "switch",
    "update",
];

/// Device classes of `sensor` and `number` whose state is a number with a unit. Not among them are
/// `date`, `enum` and `timestamp`, which are texts, and those of [`UNITLESS_CLASSES`].
/// (<https://developers.home-assistant.io/docs/core/entity/sensor/#available-device-classes>)
pub(super) const NUMERIC_CLASSES: &[&str] = &[
    "absolute_humidity",
    "apparent_power",
    "area",
    "atmospheric_pressure",
    "battery",
    "blood_glucose_concentration",
    "carbon_dioxide",
    "carbon_monoxide",
    "conductivity",
    "current",
    "data_rate",
    "data_size",
    "distance",
    "duration",
    "energy",
    "energy_distance",
    "energy_storage",
    "frequency",
    "gas",
    "humidity",
    "illuminance",
    "irradiance",
    "moisture",
    "monetary",
    "nitrogen_dioxide",
    "nitrogen_monoxide",
    "nitrous_oxide",
    "ozone",
    "pm1",
    "pm10",
    "pm25",
    "power",
    "precipitation",
    "precipitation_intensity",
    "pressure",
    "reactive_energy",
    "reactive_power",
    "signal_strength",
    "sound_pressure",
    "speed",
    "sulphur_dioxide",
    "temperature",
    "volatile_organic_compounds",
    "volatile_organic_compounds_parts",
    "voltage",
    "volume",
    "volume_flow_rate",
    "volume_storage",
    "water",
    "weight",
    "wind_direction",
    "wind_speed",
];

/// Device classes that are numbers without a unit.
pub(super) const UNITLESS_CLASSES: &[&str] = &["aqi", "ph"];

/// Domains that Home Assistant's own integrations have entities of.
const DOMAINS: &[&str] = &[
    "ai_task",
    "air_quality",
    "alarm_control_panel",
    "alert",
    "assist_satellite",
    "automation",
    "binary_sensor",
    "button",
    "calendar",
    "camera",
    "climate",
    "configurator",
    "conversation",
    "counter",
    "cover",
    "date",
    "datetime",
    "device_tracker",
    "event",
    "fan",
    "geo_location",
    "group",
    "humidifier",
    "image",
    "image_processing",
    "input_boolean",
    "input_button",
    "input_datetime",
    "input_number",
    "input_select",
    "input_text",
    "lawn_mower",
    "light",
    "lock",
    "mailbox",
    "media_player",
    "notify",
    "number",
    "persistent_notification",
    "person",
    "plant",
    "proximity",
    "remote",
    "scene",
    "schedule",
    "script",
    "select",
    "sensor",
    "siren",
    "stt",
    "sun",
    "switch",
    "tag",
    "text",
    "time",
    "timer",
    "todo",
    "tts",
    "update",
    "utility_meter",
    "vacuum",
    "valve",
    "wake_word",
    "water_heater",
    "weather",
    "zone",
];

/// Whether Home Assistant itself has entities of this domain.
pub(super) fn is_known(domain: &str) -> bool {
    let Some(dead_letter) = domain
        .bytes()
        .next()
        .and_then(|byte| byte.checked_sub(b'a'))
    else {
        return false;
    };
    let dead_letter = usize::from(dead_letter);
    match (FIRST_OF.get(dead_letter), FIRST_OF.get(dead_letter + 1)) {
        (Some(first), Some(end)) => DOMAINS[*first..*end].contains(&domain),
        _ => false,
    }
}

/// Where the domains of each dead letter begin in [`DOMAINS`]; the end of the last is behind it.
static FIRST_OF: [usize; 27] = {
    let mut first_of = [0; 27];
    let mut at = 0;
    while at < DOMAINS.len() {
        let dead_letter = (DOMAINS[at].as_bytes()[0] - b'a') as usize;
        first_of[dead_letter + 1] += 1;
        at += 1;
    }
    let mut dead_letter = 0;
    while dead_letter < 26 {
        first_of[dead_letter + 1] += first_of[dead_letter];
        dead_letter += 1;
    }
    first_of
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_sorted_for_the_search() {
        assert!(DOMAINS.iter().all(|domain| is_known(domain)));
        assert!(
            ["", "z", "zz", "~", "A", "lights", "é"]
                .iter()
                .all(|other| !is_known(other))
        );
        assert!(DOMAINS.is_sorted());
        assert!(ON_OFF_DOMAINS.iter().all(|domain| is_known(domain)));
        assert!(!is_known("hacs"));
    }
}
