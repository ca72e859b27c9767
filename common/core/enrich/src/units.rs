//! Units that mean the same thing, on one scale.
//!
//! A table of our own: the crates for units work on types that are known when compiling, and would
//! still need this table from Home Assistant's spellings to theirs. Factors are exact by definition
//! (inch, pound) or as Home Assistant's `unit_conversion` has them; units whose text is
//! used for several quantities (`K` is also a colour temperature, `m` also minutes elsewhere) count
//! only with a device class that says which.

/// `normalized = (value - zero) * multiply / divide`, in `target`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Conversion {
    unit: &'static str,
    /// Device classes for which the unit means this; empty: any, or none.
    classes: &'static [&'static str],
    target: &'static str,
    zero: f64,
    multiply: f64,
    divide: f64,
}

/// The value on its quantity's one scale, and that scale's unit.
pub(crate) fn normalized(
    value: f64,
    unit: &str,
    device_class: Option<&str>,
) -> Option<(f64, &'static str)> {
    let row = CONVERSIONS.iter().find(|row| {
        row.unit == unit
            && (row.classes.is_empty()
                || device_class.is_some_and(|class| row.classes.contains(&class)))
    })?;
    Some(((value - row.zero) * row.multiply / row.divide, row.target))
}

/// A temperature in °C. None for a unit that is none of temperature.
pub(crate) fn celsius(value: f64, unit: &str) -> Option<f64> {
    match normalized(value, unit, Some("temperature"))? {
        (celsius, "°C") => Some(celsius),
        _ => None,
    }
}

/// A pressure in hPa. None for a unit that is none of pressure.
pub(crate) fn hectopascal(value: f64, unit: &str) -> Option<f64> {
    match normalized(value, unit, Some("pressure"))? {
        (hectopascal, "hPa") => Some(hectopascal),
        _ => None,
    }
}

const fn row(unit: &'static str, target: &'static str, multiply: f64, divide: f64) -> Conversion {
    Conversion {
        unit,
        classes: &[],
        target,
        zero: 0.0,
        multiply,
        divide,
    }
}

const fn of(classes: &'static [&'static str], row: Conversion) -> Conversion {
    Conversion { classes, ..row }
}

const fn from_zero(zero: f64, row: Conversion) -> Conversion {
    Conversion { zero, ..row }
}

const DISTANCE: &[&str] = &["distance"];
const DURATION: &[&str] = &["duration"];
const PRECIPITATION: &[&str] = &["precipitation"];
const TEMPERATURE: &[&str] = &["temperature"];
const VOLUME: &[&str] = &["volume", "volume_storage", "water", "gas"];
const WEIGHT: &[&str] = &["weight"];

static CONVERSIONS: &[Conversion] = &[
    row("°C", "°C", 1.0, 1.0),
    from_zero(32.0, row("°F", "°C", 5.0, 9.0)),
    of(TEMPERATURE, from_zero(273.15, row("K", "°C", 1.0, 1.0))),
    row("hPa", "hPa", 1.0, 1.0),
    row("mbar", "hPa", 1.0, 1.0),
    row("Pa", "hPa", 1.0, 100.0),
    row("kPa", "hPa", 10.0, 1.0),
    row("cbar", "hPa", 10.0, 1.0),
    row("bar", "hPa", 1_000.0, 1.0),
    row("mmHg", "hPa", 1.333_223_874_15, 1.0),
    row("inHg", "hPa", 33.863_886_666_67, 1.0),
    row("psi", "hPa", 68.947_572_931_68, 1.0),
    row("kWh", "kWh", 1.0, 1.0),
    row("Wh", "kWh", 1.0, 1_000.0),
    row("MWh", "kWh", 1_000.0, 1.0),
    row("GWh", "kWh", 1_000_000.0, 1.0),
    row("J", "kWh", 1.0, 3_600_000.0),
    row("kJ", "kWh", 1.0, 3_600.0),
    row("MJ", "kWh", 1.0, 3.6),
    row("GJ", "kWh", 1_000.0, 3.6),
    row("W", "W", 1.0, 1.0),
    row("mW", "W", 1.0, 1_000.0),
    row("kW", "W", 1_000.0, 1.0),
    row("MW", "W", 1_000_000.0, 1.0),
    row("V", "V", 1.0, 1.0),
    row("mV", "V", 1.0, 1_000.0),
    row("A", "A", 1.0, 1.0),
    row("mA", "A", 1.0, 1_000.0),
    row("m/s", "m/s", 1.0, 1.0),
    row("km/h", "m/s", 1.0, 3.6),
    row("mph", "m/s", 0.447_04, 1.0),
    row("kn", "m/s", 1_852.0, 3_600.0),
    row("ft/s", "m/s", 0.304_8, 1.0),
    of(DISTANCE, row("m", "m", 1.0, 1.0)),
    of(DISTANCE, row("mm", "m", 1.0, 1_000.0)),
    of(DISTANCE, row("cm", "m", 1.0, 100.0)),
    of(DISTANCE, row("km", "m", 1_000.0, 1.0)),
    of(DISTANCE, row("in", "m", 0.025_4, 1.0)),
    of(DISTANCE, row("ft", "m", 0.304_8, 1.0)),
    of(DISTANCE, row("yd", "m", 0.914_4, 1.0)),
    of(DISTANCE, row("mi", "m", 1_609.344, 1.0)),
    of(PRECIPITATION, row("mm", "mm", 1.0, 1.0)),
    of(PRECIPITATION, row("cm", "mm", 10.0, 1.0)),
    of(PRECIPITATION, row("in", "mm", 25.4, 1.0)),
    of(VOLUME, row("m³", "m³", 1.0, 1.0)),
    of(VOLUME, row("L", "m³", 1.0, 1_000.0)),
    of(VOLUME, row("mL", "m³", 1.0, 1_000_000.0)),
    of(VOLUME, row("ft³", "m³", 0.028_316_846_592, 1.0)),
    of(VOLUME, row("CCF", "m³", 2.831_684_659_2, 1.0)),
    of(VOLUME, row("gal", "m³", 0.003_785_411_784, 1.0)),
    of(WEIGHT, row("kg", "kg", 1.0, 1.0)),
    of(WEIGHT, row("g", "kg", 1.0, 1_000.0)),
    of(WEIGHT, row("mg", "kg", 1.0, 1_000_000.0)),
    of(WEIGHT, row("lb", "kg", 0.453_592_37, 1.0)),
    of(WEIGHT, row("oz", "kg", 0.028_349_523_125, 1.0)),
    of(WEIGHT, row("st", "kg", 6.350_293_18, 1.0)),
    of(DURATION, row("s", "s", 1.0, 1.0)),
    of(DURATION, row("ms", "s", 1.0, 1_000.0)),
    of(DURATION, row("min", "s", 60.0, 1.0)),
    of(DURATION, row("h", "s", 3_600.0, 1.0)),
    of(DURATION, row("d", "s", 86_400.0, 1.0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_to_one_scale() {
        for (value, unit, class, expected) in [
            (68.0, "°F", Some("temperature"), Some((20.0, "°C"))),
            (-40.0, "°F", None, Some((-40.0, "°C"))),
            (
                300.0,
                "K",
                Some("temperature"),
                Some((26.850_000_000_000_023, "°C")),
            ),
            (4000.0, "K", None, None),
            (
                101_325.0,
                "Pa",
                Some("atmospheric_pressure"),
                Some((1_013.25, "hPa")),
            ),
            (760.0, "mmHg", None, Some((1_013.250_144_354, "hPa"))),
            (1500.0, "Wh", Some("energy"), Some((1.5, "kWh"))),
            (36.0, "km/h", Some("wind_speed"), Some((10.0, "m/s"))),
            (2.0, "in", Some("precipitation"), Some((50.8, "mm"))),
            (2.0, "in", Some("distance"), Some((0.050_8, "m"))),
            (2.0, "in", None, None),
            (1.0, "mW", None, Some((0.001, "W"))),
            (1.0, "MW", None, Some((1_000_000.0, "W"))),
            (1.0, "°X", None, None),
        ] {
            assert_eq!(
                normalized(value, unit, class),
                expected,
                "{value} {unit} {class:?}"
            );
        }
    }

    #[test]
    fn every_scale_holds_its_own_unit_and_no_row_stands_twice() {
        for (at, row) in CONVERSIONS.iter().enumerate() {
            let class = row.classes.first().copied();
            assert_eq!(
                normalized(7.0, row.target, class),
                Some((7.0, row.target)),
                "{row:?}"
            );
            let twice = |other: &&Conversion| {
                other.unit == row.unit
                    && (other.classes.is_empty()
                        || row.classes.is_empty()
                        || other
                            .classes
                            .iter()
                            .any(|class| row.classes.contains(class)))
            };
            assert!(
                !CONVERSIONS[at + 1..].iter().any(|other| twice(&other)),
                "{row:?}"
            );
        }
    }
}
