//! What moves: the part of an entity that changes from event to event.

use rand::{Rng as _, rngs::SmallRng};

use crate::json::{push_fixed, push_time};

/// Every step changes the state or an attribute: Home Assistant fires no event otherwise.
#[derive(Debug)]
pub(crate) enum Body {
    /// A measurement that drifts between two bounds; all numbers in units of the last decimal.
    Drift {
        value: i64,
        step_max: i64,
        min: i64,
        max: i64,
        decimals: u32,
    },
    /// A counter that only rises (`total_increasing`).
    Counter {
        value: i64,
        step_max: i64,
        decimals: u32,
    },
    /// On and off in the words of the domain.
    Toggle {
        on: bool,
        words: [&'static str; 2],
    },
    /// One of several states.
    Choice {
        at: usize,
        words: &'static [&'static str],
    },
    Light {
        on: bool,
        brightness: u8,
        hue: u16,
        color: bool,
    },
    Cover {
        position: i8,
        direction: i8,
        moving: bool,
    },
    Climate {
        mode: usize,
        current: i64,
        target: i64,
    },
    Humidifier {
        on: bool,
        current: i64,
        target: i64,
    },
    WaterHeater {
        mode: usize,
        target: i64,
    },
    Media {
        playing: bool,
        position_s: u32,
        title: usize,
        volume: u8,
    },
    Fan {
        percentage: u8,
    },
    Tracker {
        home: bool,
        latitude: i64,
        longitude: i64,
    },
    Weather {
        condition: usize,
        temperature: i64,
        humidity: i64,
        pressure: i64,
        wind: i64,
    },
    Sun {
        elevation: i64,
        azimuth: i64,
    },
    /// The state is the time of the last use: scenes and buttons.
    Stamp,
}

pub(crate) const CLIMATE_MODES: [&str; 4] = ["off", "heat", "cool", "auto"];
pub(crate) const WATER_HEATER_MODES: [&str; 4] = ["eco", "electric", "performance", "off"];
const CONDITIONS: [&str; 6] = ["sunny", "partlycloudy", "cloudy", "rainy", "windy", "fog"];
pub(super) const TITLES: [(&str, &str); 4] = [
    ("♥♥ The Best Fireplace Video (3 hours)", "YouTube"),
    ("Gymnopédie No. 1", "Spotify"),
    ("晩ごはんのニュース", "NHK+"),
    ("The \"Late\" Show \\ Reruns", "TV"),
];

impl Body {
    /// Whether people operate it, so that its events have a user.
    pub(crate) fn is_operated(&self) -> bool {
        !matches!(
            self,
            Self::Drift { .. }
                | Self::Counter { .. }
                | Self::Tracker { .. }
                | Self::Weather { .. }
                | Self::Sun { .. }
        )
    }

    /// Whether it has attributes that change.
    pub(crate) fn has_attributes(&self) -> bool {
        !matches!(
            self,
            Self::Drift { .. }
                | Self::Counter { .. }
                | Self::Toggle { .. }
                | Self::Choice { .. }
                | Self::Stamp
        )
    }

    /// The next state or attributes.
    pub(crate) fn step(&mut self, random: &mut SmallRng) {
        match self {
            Self::Drift {
                value,
                step_max,
                min,
                max,
                ..
            } => {
                *value = drift(*value, *step_max, *min, *max, random);
            }
            Self::Counter {
                value, step_max, ..
            } => *value += random.random_range(1..=*step_max),
            Self::Toggle { on, .. } => *on = !*on,
            Self::Choice { at, words } => {
                *at = (*at + random.random_range(1..words.len())) % words.len();
            }
            Self::Light {
                on,
                brightness,
                hue,
                ..
            } => {
                if *on && random.random_ratio(2, 5) {
                    *brightness = brightness.wrapping_add(random.random_range(1..=250)).max(1);
                } else {
                    *on = !*on;
                    *hue = random.random_range(0..360);
                }
            }
            Self::Cover {
                position,
                direction,
                moving,
            } => {
                if *moving {
                    *position = (*position + *direction * 25).clamp(0, 100);
                    *moving = (1..100).contains(position);
                } else {
                    *direction = if *position == 0 { 1 } else { -1 };
                    *moving = true;
                }
            }
            Self::Climate {
                mode,
                current,
                target,
            } => match random.random_range(0..10) {
                0 => {
                    *mode =
                        (*mode + random.random_range(1..CLIMATE_MODES.len())) % CLIMATE_MODES.len()
                }
                1..=2 => *target = drift(*target, 4, 140, 260, random),
                _ => *current = drift(*current, 3, 120, 300, random),
            },
            Self::Humidifier {
                on,
                current,
                target,
            } => match random.random_range(0..4) {
                0 => *on = !*on,
                1 => *target = drift(*target, 5, 30, 80, random),
                _ => *current = drift(*current, 2, 20, 90, random),
            },
            Self::WaterHeater { mode, target } => {
                if random.random_ratio(1, 3) {
                    *mode = (*mode + random.random_range(1..WATER_HEATER_MODES.len()))
                        % WATER_HEATER_MODES.len();
                } else {
                    *target = drift(*target, 10, 433, 600, random);
                }
            }
            Self::Media {
                playing,
                position_s,
                title,
                volume,
                ..
            } => match random.random_range(0..8) {
                0 => *playing = !*playing,
                1 => *volume = (*volume + random.random_range(1..100)) % 100,
                2 => {
                    *title = (*title + random.random_range(1..TITLES.len())) % TITLES.len();
                    *position_s = 0;
                }
                _ => *position_s += random.random_range(1..15),
            },
            Self::Fan { percentage } => {
                let step = random.random_range(1..=3);
                *percentage = (*percentage / 25 + step) % 4 * 25;
            }
            Self::Tracker {
                home,
                latitude,
                longitude,
            } => {
                *latitude += random.random_range(1..900);
                *longitude -= random.random_range(1..900);
                if random.random_ratio(1, 4) {
                    *home = !*home;
                }
            }
            Self::Weather {
                condition,
                temperature,
                humidity,
                pressure,
                wind,
            } => {
                *temperature = drift(*temperature, 3, -150, 380, random);
                *humidity = drift(*humidity, 2, 20, 100, random);
                *pressure = drift(*pressure, 4, 9_700, 10_450, random);
                *wind = drift(*wind, 20, 0, 900, random);
                if random.random_ratio(1, 10) {
                    *condition =
                        (*condition + random.random_range(1..CONDITIONS.len())) % CONDITIONS.len();
                }
            }
            Self::Sun { elevation, azimuth } => {
                *azimuth = (*azimuth + random.random_range(1..300)) % 36_000;
                *elevation = drift(*elevation, 120, -6_000, 6_000, random);
            }
            Self::Stamp => {}
        }
    }

    /// Appends the state's text, not as JSON.
    pub(crate) fn push_state(&self, time_us: i64, out: &mut String) {
        out.push_str(match self {
            Self::Drift {
                value, decimals, ..
            }
            | Self::Counter {
                value, decimals, ..
            } => {
                return push_fixed(out, *value, *decimals);
            }
            Self::Stamp => return push_time(out, time_us),
            Self::Toggle { on, words } => words[usize::from(*on)],
            Self::Choice { at, words } => words[*at],
            Self::Light { on, .. } | Self::Humidifier { on, .. } => on_off(*on),
            Self::Cover {
                moving: true,
                direction,
                ..
            } => {
                if *direction > 0 {
                    "opening"
                } else {
                    "closing"
                }
            }
            Self::Cover { position, .. } => {
                if *position == 0 {
                    "closed"
                } else {
                    "open"
                }
            }
            Self::Climate { mode, .. } => CLIMATE_MODES[*mode],
            Self::WaterHeater { mode, .. } => WATER_HEATER_MODES[*mode],
            Self::Media { playing, .. } => {
                if *playing {
                    "playing"
                } else {
                    "paused"
                }
            }
            Self::Fan { percentage } => on_off(*percentage > 0),
            Self::Tracker { home, .. } => {
                if *home {
                    "home"
                } else {
                    "not_home"
                }
            }
            Self::Weather { condition, .. } => CONDITIONS[*condition],
            Self::Sun { elevation, .. } => {
                if *elevation > 0 {
                    "above_horizon"
                } else {
                    "below_horizon"
                }
            }
        });
    }
}

/// A value within the bounds that differs from `value` by 1 to `step_max`.
fn drift(value: i64, step_max: i64, min: i64, max: i64, random: &mut SmallRng) -> i64 {
    let step = random.random_range(1..=step_max);
    let up = if value + step > max {
        false
    } else {
        value - step < min || random.random()
    };
    if up { value + step } else { value - step }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
