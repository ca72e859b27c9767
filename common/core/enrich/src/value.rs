//! States as numbers.

/// The number that a state stands for: numeric states themselves, on/off-like states 1 and 0 by
/// their domain and device class. Free texts that happen to read `on` or `home` are no numbers.
pub(crate) fn numeric_value(domain: &str, device_class: Option<&str>, state: &str) -> Option<f64> {
    let Some(pairs) = two_valued(domain) else {
        return number(state);
    };
    let of_class = match (domain, device_class) {
        ("binary_sensor", Some(class)) => words_of_binary_sensor(class),
        _ => None,
    };
    pairs
        .iter()
        .chain(&of_class)
        .find_map(|(one, zero)| match state {
            state if state == *one => Some(1.0),
            state if state == *zero => Some(0.0),
            _ => None,
        })
}

type Pair = (&'static str, &'static str);

/// Home Assistant itself writes `on` and `off` only; other writers of the same domains (REST, MQTT
/// state streams) write the other words.
const ON_OFF: &[Pair] = &[
    ("on", "off"),
    ("true", "false"),
    ("yes", "no"),
    ("enabled", "disabled"),
    ("active", "inactive"),
];

/// The states that mean 1 and 0 in domains whose state has two sides (Home Assistant's developer
/// documentation, one page an entity type). Other states of these domains (`opening`, `jammed`, a
/// zone's name) have no number, and neither have `0` and `1`.
fn two_valued(domain: &str) -> Option<&'static [Pair]> {
    match domain {
        "alert" | "automation" | "binary_sensor" | "calendar" | "fan" | "humidifier"
        | "input_boolean" | "light" | "remote" | "schedule" | "script" | "siren" | "switch"
        | "update" => Some(ON_OFF),
        // A group's states are those of its members.
        "group" => Some(&[
            ("on", "off"),
            ("home", "not_home"),
            ("open", "closed"),
            ("locked", "unlocked"),
        ]),
        "cover" | "valve" => Some(&[("open", "closed")]),
        "device_tracker" | "person" => Some(&[("home", "not_home")]),
        "lock" => Some(&[("locked", "unlocked")]),
        "plant" => Some(&[("problem", "ok")]),
        "sun" => Some(&[("above_horizon", "below_horizon")]),
        _ => None,
    }
}

/// What on and off mean in each class of binary sensor, in the words of its documentation
/// (<https://www.home-assistant.io/integrations/binary_sensor/#device-class>).
fn words_of_binary_sensor(device_class: &str) -> Option<Pair> {
    Some(match device_class {
        "battery" => ("low", "normal"),
        "battery_charging" => ("charging", "not_charging"),
        "connectivity" => ("connected", "disconnected"),
        "door" | "garage_door" | "opening" | "window" => ("open", "closed"),
        "gas" | "motion" | "occupancy" | "smoke" | "sound" | "vibration" => ("detected", "clear"),
        // On means that something is wrong: the lock is open.
        "lock" => ("unlocked", "locked"),
        "moisture" => ("wet", "dry"),
        "plug" => ("plugged", "unplugged"),
        "presence" => ("home", "not_home"),
        "problem" => ("problem", "ok"),
        "running" => ("running", "not_running"),
        "safety" => ("unsafe", "safe"),
        _ => return None,
    })
}

/// A decimal number as people and devices write it: `21`, `-0.5`, `+3`, `1e3`. Not `inf`, `nan`,
/// `1_000`, hexadecimal or an empty text.
pub(crate) fn number(text: &str) -> Option<f64> {
    let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.bytes().all(plain) || !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_only_looks_like_them() {
        for (state, expected) in [
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("-0", Some(0.0)),
            ("21.50", Some(21.5)),
            ("+3", Some(3.0)),
            ("-.5", Some(-0.5)),
            ("1e3", Some(1000.0)),
            ("1E-2", Some(0.01)),
            ("1_000", None),
            ("1,5", None),
            ("0x10", None),
            ("inf", None),
            ("-inf", None),
            ("nan", None),
            ("1e999", None),
            ("e", None),
            (".", None),
            ("-", None),
            ("", None),
            (" 1", None),
            ("on", None),
        ] {
            assert_eq!(numeric_value("sensor", None, state), expected, "{state}");
        }
    }

    #[test]
    fn two_valued_domains_go_by_their_table() {
        for (domain, class, state, expected) in [
            ("binary_sensor", None, "on", Some(1.0)),
            ("binary_sensor", Some("door"), "off", Some(0.0)),
            ("binary_sensor", Some("door"), "open", Some(1.0)),
            ("binary_sensor", Some("lock"), "locked", Some(0.0)),
            ("binary_sensor", Some("motion"), "open", None),
            ("switch", Some("outlet"), "true", Some(1.0)),
            ("light", None, "1", None),
            ("light", None, "0", None),
            ("cover", Some("garage"), "open", Some(1.0)),
            ("cover", None, "opening", None),
            ("group", None, "not_home", Some(0.0)),
            ("lock", None, "unlocked", Some(0.0)),
            ("person", None, "work", None),
            ("input_text", None, "on", None),
            ("input_text", None, "1", Some(1.0)),
            ("sensor", Some("door"), "open", None),
        ] {
            let found = numeric_value(domain, class, state);
            assert_eq!(found, expected, "{domain} {class:?} {state}");
        }
    }
}
