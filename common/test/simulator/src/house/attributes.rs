//! The attributes that change, as JSON.

use std::fmt::Write as _;

use super::body::{Body, CLIMATE_MODES, TITLES, WATER_HEATER_MODES};
use crate::json::{push_fixed, push_string, push_time};

impl Body {
    /// Appends `"name":value,` for each changing attribute.
    pub(crate) fn push_attributes(&self, time_us: i64, out: &mut String) {
        let _ = match self {
            Self::Light {
                on,
                brightness,
                hue,
                color,
            } => push_light(out, *on, *brightness, *hue, *color),
            Self::Cover { position, .. } => write!(out, r#""current_position":{position},"#),
            Self::Climate {
                mode,
                current,
                target,
            } => {
                let action = match CLIMATE_MODES[*mode] {
                    "off" => "off",
                    "heat" | "auto" if current < target => "heating",
                    "cool" | "auto" if current > target => "cooling",
                    _ => "idle",
                };
                tenths(out, "current_temperature", *current);
                tenths(out, "temperature", *target);
                write!(
                    out,
                    r#""target_temp_high":null,"target_temp_low":null,"current_humidity":54,"humidity":55,"fan_mode":"on_high","hvac_action":"{action}","swing_mode":"off","#
                )
            }
            Self::Humidifier {
                on,
                current,
                target,
            } => {
                let action = if *on { "humidifying" } else { "off" };
                write!(
                    out,
                    r#""action":"{action}","current_humidity":{current},"humidity":{target},"mode":"home","#
                )
            }
            Self::WaterHeater { mode, target } => {
                tenths(out, "temperature", *target);
                let mode = WATER_HEATER_MODES[*mode];
                write!(
                    out,
                    r#""current_temperature":null,"target_temp_high":null,"target_temp_low":null,"operation_mode":"{mode}","away_mode":"off","#
                )
            }
            Self::Media {
                position_s,
                title,
                volume,
                ..
            } => push_media(out, *position_s, *title, *volume, time_us),
            Self::Fan { percentage } => write!(
                out,
                r#""percentage":{percentage},"percentage_step":25.0,"preset_mode":null,"oscillating":false,"#
            ),
            Self::Tracker {
                latitude,
                longitude,
                ..
            } => {
                out.push_str(r#""latitude":"#);
                push_fixed(out, *latitude, 6);
                out.push_str(r#","longitude":"#);
                push_fixed(out, *longitude, 6);
                out.push_str(r#","gps_accuracy":34,"battery_level":71,"#);
                Ok(())
            }
            Self::Weather {
                temperature,
                humidity,
                pressure,
                wind,
                ..
            } => {
                tenths(out, "temperature", *temperature);
                tenths(out, "pressure", *pressure);
                tenths(out, "wind_speed", *wind);
                write!(
                    out,
                    r#""humidity":{humidity},"wind_bearing":213.4,"temperature_unit":"°C","pressure_unit":"hPa","wind_speed_unit":"km/h","visibility_unit":"km","precipitation_unit":"mm","#
                )
            }
            Self::Sun { elevation, azimuth } => push_sun(out, *elevation, *azimuth, time_us),
            Self::Drift { .. }
            | Self::Counter { .. }
            | Self::Toggle { .. }
            | Self::Choice { .. }
            | Self::Stamp => Ok(()),
        };
    }
}

fn tenths(out: &mut String, name: &str, value: i64) {
    push_string(out, name);
    out.push(':');
    push_fixed(out, value, 1);
    out.push(',');
}

fn push_light(
    out: &mut String,
    on: bool,
    brightness: u8,
    hue: u16,
    color: bool,
) -> std::fmt::Result {
    match (on, color) {
        (false, false) => write!(out, r#""color_mode":null,"brightness":null,"#),
        (false, true) => write!(
            out,
            r#""color_mode":null,"brightness":null,"hs_color":null,"rgb_color":null,"xy_color":null,"#
        ),
        (true, false) => write!(
            out,
            r#""color_mode":"brightness","brightness":{brightness},"#
        ),
        (true, true) => write!(
            out,
            r#""color_mode":"hs","brightness":{brightness},"hs_color":[{hue}.0,49.804],"rgb_color":[255,{},128],"xy_color":[0.524,0.313],"#,
            hue % 256
        ),
    }
}

fn push_media(
    out: &mut String,
    position_s: u32,
    title: usize,
    volume: u8,
    time_us: i64,
) -> std::fmt::Result {
    let (title, app) = TITLES[title];
    write!(
        out,
        r#""volume_level":0.{volume:02},"is_volume_muted":false,"media_content_id":"eyU3bRy2x44","media_content_type":"movie","media_duration":10800,"media_position":{position_s},"media_position_updated_at":""#
    )?;
    push_time(out, time_us);
    out.push_str(r#"","media_title":"#);
    push_string(out, title);
    out.push_str(r#","app_name":"#);
    push_string(out, app);
    write!(out, r#","sound_mode":"Music","shuffle":false,"#)
}

fn push_sun(out: &mut String, elevation: i64, azimuth: i64, time_us: i64) -> std::fmt::Result {
    let midnight_us = time_us - time_us.rem_euclid(86_400_000_000) + 86_400_000_000;
    for (name, hour) in [
        ("next_dawn", 5_i64),
        ("next_dusk", 19),
        ("next_midnight", 24),
        ("next_noon", 12),
        ("next_rising", 6),
        ("next_setting", 18),
    ] {
        write!(out, r#""{name}":""#)?;
        push_time(out, midnight_us + hour * 3_600_000_000);
        out.push_str("\",");
    }
    out.push_str(r#""elevation":"#);
    push_fixed(out, elevation, 2);
    out.push_str(r#","azimuth":"#);
    push_fixed(out, azimuth, 2);
    write!(out, r#","rising":{},"#, azimuth < 18_000)
}
