//! States as numbers.

/// The number that a state stands for: numeric states themselves, on/off-like states 1 and 0 by
/// their domain. Free texts that happen to read `on` or `home` are no numbers.
pub(super) fn numeric_value(domain: &str, state: &str) -> Option<f64> {
    let Some((one, zero)) = two_valued(domain) else { return number(state) };
    match state {
        state if state == one => Some(1.0),
        state if state == zero => Some(0.0),
        _ => None,
    }
}

/// The states that mean 1 and 0 in domains whose state has two sides (Home Assistant's developer
/// documentation, one page an entity type). Other states of these domains (`opening`, `jammed`)
/// have no number.
fn two_valued(domain: &str) -> Option<(&'static str, &'static str)> {
    match domain {
        "automation" | "binary_sensor" | "calendar" | "fan" | "group" | "humidifier"
        | "input_boolean" | "light" | "remote" | "schedule" | "script" | "siren" | "switch"
        | "update" => Some(("on", "off")),
        "cover" | "valve" => Some(("open", "closed")),
        "device_tracker" | "person" => Some(("home", "not_home")),
        "lock" => Some(("locked", "unlocked")),
        "sun" => Some(("above_horizon", "below_horizon")),
        _ => None,
    }
}

/// A decimal number as people and devices write it: `21`, `-0.5`, `+3`, `1e3`. Not `inf`, `nan`,
/// `1_000`, hexadecimal or an empty text.
fn number(text: &str) -> Option<f64> {
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
            assert_eq!(numeric_value("sensor", state), expected, "{state}");
        }
    }

    #[test]
    fn two_valued_domains_go_by_their_table() {
        for (domain, state, expected) in [
            ("binary_sensor", "on", Some(1.0)),
            ("binary_sensor", "off", Some(0.0)),
            ("light", "1", None),
            ("cover", "open", Some(1.0)),
            ("cover", "opening", None),
            ("lock", "unlocked", Some(0.0)),
            ("person", "work", None),
            ("input_text", "on", None),
        ] {
            assert_eq!(numeric_value(domain, state), expected, "{domain} {state}");
        }
    }
}
