//! What stands in the house.

use rand::{Rng as _, rngs::SmallRng};

use super::{
    body::{Body, CLIMATE_MODES, WATER_HEATER_MODES},
    entity::Entity,
};
use crate::json::push_string;

/// A room, which is an area of the registry.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) floor: &'static str,
}

const fn room(id: &'static str, name: &'static str, floor: &'static str) -> Room {
    Room { id, name, floor }
}

/// The rooms, in the order in which they are furnished.
pub(crate) const ROOMS: [Room; 10] = [
    room("living_room", "Living Room", "ground_floor"),
    room("kitchen", "Kitchen", "ground_floor"),
    room("bedroom", "Bedroom", "upper_floor"),
    room("bathroom", "Bathroom", "upper_floor"),
    room("office", "Office", "upper_floor"),
    room("hallway", "Hallway", "ground_floor"),
    room("garage", "Garage", "ground_floor"),
    room("nursery", "Nursery", "upper_floor"),
    room("cellar", "Cellar", "basement"),
    room("garden", "Garden", "ground_floor"),
];

/// A kind of entity.
struct Kind {
    domain: &'static str,
    /// Behind the room in the entity id and the name.
    suffix: &'static str,
    label: &'static str,
    /// How many of a hundred entities or so are of this kind.
    share: u32,
    /// How often one of them changes, relative to the others.
    rate: u32,
    /// Attribute fragments, each `"name":value,`: before the changing ones …
    capability: &'static str,
    /// Attribute fragments behind those of the body, before the friendly name.
    tail: &'static str,
    /// `supported_features`, which stand last.
    features: Option<u32>,
    body: fn(&mut SmallRng) -> Body,
}

const MEASUREMENT: &str = r#""state_class":"measurement","#;
const CLIMATE: &str = r#""hvac_modes":["off","heat","cool","auto"],"min_temp":7,"max_temp":35,"min_humidity":30,"max_humidity":99,"fan_modes":["on_low","on_high","auto_low","auto_high","off"],"swing_modes":["auto","1","2","3","off"],"#;
const WATER_HEATER: &str =
    r#""min_temp":43.3,"max_temp":60.0,"operation_list":["eco","electric","performance","off"],"#;
const TEXTS: [&str; 5] = [
    "Hello world",
    "日本語",
    "say \"hi\" \\ 1,2=3",
    "two\nlines",
    "1_000",
];
const HOUSE_MODES: [&str; 4] = ["home", "away", "night", "holiday"];

#[rustfmt::skip]
const KINDS: [Kind; 22] = [
    Kind { domain: "sensor", suffix: "temperature", label: "Temperature", share: 14, rate: 4, capability: MEASUREMENT, tail: r#""unit_of_measurement":"°C","device_class":"temperature","#, features: None,
        body: |random| Body::Drift { value: random.random_range(150..260), step_max: 3, min: -150, max: 380, decimals: 1 } },
    Kind { domain: "light", suffix: "light", label: "Light", share: 10, rate: 4, capability: r#""supported_color_modes":["hs"],"#, tail: "", features: Some(4),
        body: |random| Body::Light { on: random.random(), brightness: 180, hue: 30, color: true } },
    Kind { domain: "sensor", suffix: "power", label: "Power", share: 10, rate: 6, capability: MEASUREMENT, tail: r#""unit_of_measurement":"W","device_class":"power","#, features: None,
        body: |random| Body::Drift { value: random.random_range(0..9_000), step_max: 600, min: 0, max: 36_000, decimals: 1 } },
    Kind { domain: "binary_sensor", suffix: "motion", label: "Motion", share: 8, rate: 4, capability: "", tail: r#""device_class":"motion","#, features: None,
        body: |_| Body::Toggle { on: false, words: ["off", "on"] } },
    Kind { domain: "sensor", suffix: "humidity", label: "Humidity", share: 8, rate: 3, capability: MEASUREMENT, tail: r#""unit_of_measurement":"%","device_class":"humidity","#, features: None,
        body: |random| Body::Drift { value: random.random_range(350..600), step_max: 8, min: 150, max: 1_000, decimals: 1 } },
    Kind { domain: "sensor", suffix: "energy", label: "Energy", share: 8, rate: 4, capability: r#""state_class":"total_increasing","last_reset":null,"#, tail: r#""unit_of_measurement":"kWh","device_class":"energy","#, features: None,
        body: |random| Body::Counter { value: random.random_range(0..6_000_000), step_max: 40, decimals: 3 } },
    Kind { domain: "switch", suffix: "outlet", label: "Outlet", share: 7, rate: 2, capability: "", tail: r#""device_class":"outlet","#, features: None,
        body: |random| Body::Toggle { on: random.random(), words: ["off", "on"] } },
    Kind { domain: "climate", suffix: "thermostat", label: "Thermostat", share: 5, rate: 3, capability: CLIMATE, tail: "", features: Some(495),
        body: |random| Body::Climate { mode: random.random_range(0..CLIMATE_MODES.len()), current: 214, target: 210 } },
    Kind { domain: "cover", suffix: "blind", label: "Blind", share: 5, rate: 4, capability: "", tail: r#""device_class":"blind","#, features: Some(15),
        body: |random| Body::Cover { position: 100 * i8::from(random.random::<bool>()), direction: 1, moving: false } },
    Kind { domain: "media_player", suffix: "speaker", label: "Speaker", share: 5, rate: 4, capability: r#""sound_mode_list":["Music","Movie"],"#, tail: r#""entity_picture":"/api/media_player_proxy/media_player.speaker?token=b1b5a5ebba37c8df&cache=bc2ffb49c4f67034","#, features: Some(119_695),
        body: |random| Body::Media { playing: random.random(), position_s: 0, title: 0, volume: 56 } },
    Kind { domain: "light", suffix: "lamp", label: "Lamp", share: 5, rate: 3, capability: r#""supported_color_modes":["brightness"],"#, tail: "", features: Some(0),
        body: |random| Body::Light { on: random.random(), brightness: 90, hue: 0, color: false } },
    Kind { domain: "sensor", suffix: "illuminance", label: "Illuminance", share: 4, rate: 3, capability: MEASUREMENT, tail: r#""unit_of_measurement":"lx","device_class":"illuminance","#, features: None,
        body: |random| Body::Drift { value: random.random_range(0..900), step_max: 60, min: 0, max: 20_000, decimals: 0 } },
    Kind { domain: "binary_sensor", suffix: "door", label: "Door", share: 4, rate: 2, capability: "", tail: r#""device_class":"door","#, features: None,
        body: |_| Body::Toggle { on: false, words: ["off", "on"] } },
    Kind { domain: "lock", suffix: "lock", label: "Lock", share: 3, rate: 3, capability: "", tail: "", features: Some(0),
        body: |_| Body::Toggle { on: true, words: ["unlocked", "locked"] } },
    Kind { domain: "fan", suffix: "fan", label: "Fan", share: 3, rate: 3, capability: r#""preset_modes":["auto","smart","sleep","on"],"#, tail: "", features: Some(15),
        body: |_| Body::Fan { percentage: 0 } },
    Kind { domain: "humidifier", suffix: "humidifier", label: "Humidifier", share: 2, rate: 4, capability: r#""min_humidity":0,"max_humidity":100,"available_modes":["home","eco","sleep"],"#, tail: r#""device_class":"humidifier","#, features: Some(1),
        body: |random| Body::Humidifier { on: random.random(), current: 45, target: 55 } },
    Kind { domain: "device_tracker", suffix: "phone", label: "Phone", share: 2, rate: 3, capability: r#""source_type":"gps","#, tail: "", features: None,
        body: |random| Body::Tracker { home: random.random(), latitude: 51_422_454, longitude: 4_346_060 } },
    Kind { domain: "input_number", suffix: "setpoint", label: "Setpoint", share: 2, rate: 2, capability: r#""initial":null,"editable":false,"min":0.0,"max":100000.0,"step":0.01,"mode":"slider","#, tail: "", features: None,
        body: |random| Body::Drift { value: random.random_range(0..10_000_000), step_max: 4_000, min: 0, max: 10_000_000, decimals: 2 } },
    Kind { domain: "input_select", suffix: "mode", label: "Mode", share: 2, rate: 2, capability: r#""options":["home","away","night","holiday"],"editable":false,"#, tail: "", features: None,
        body: |_| Body::Choice { at: 0, words: &HOUSE_MODES } },
    Kind { domain: "scene", suffix: "evening", label: "Evening", share: 2, rate: 2, capability: r#""entity_id":["light.living_room_light"],"#, tail: "", features: None,
        body: |_| Body::Stamp },
    Kind { domain: "water_heater", suffix: "boiler", label: "Boiler", share: 1, rate: 4, capability: WATER_HEATER, tail: "", features: Some(15),
        body: |random| Body::WaterHeater { mode: random.random_range(0..WATER_HEATER_MODES.len()), target: 483 } },
    Kind { domain: "input_text", suffix: "note", label: "Note", share: 1, rate: 2, capability: r#""editable":false,"min":0,"max":255,"pattern":null,"mode":"text","#, tail: "", features: None,
        body: |_| Body::Choice { at: 0, words: &TEXTS } },
];

/// `count` entities, and the wheel that says which of them changes next.
pub(super) fn furnish(count: usize, random: &mut SmallRng) -> (Vec<Entity>, Vec<u32>) {
    let mut entities = Vec::with_capacity(count);
    let mut wheel = Vec::new();
    let mut add = |entity: Entity, rate: u32| {
        wheel.extend(std::iter::repeat_n(entities.len() as u32, rate as usize));
        entities.push(entity);
    };
    if count > 0 {
        let body = Body::Weather {
            condition: 1,
            temperature: 142,
            humidity: 71,
            pressure: 10_132,
            wind: 121,
        };
        let tail = r#""attribution":"Powered by Home Assistant","#;
        add(
            entity(
                "weather.home".to_owned(),
                "Home".to_owned(),
                None,
                body,
                ("", tail, Some(7)),
            ),
            1,
        );
    }
    if count > 1 {
        let body = Body::Sun {
            elevation: 2_140,
            azimuth: 12_410,
        };
        add(
            entity(
                "sun.sun".to_owned(),
                "Sun".to_owned(),
                None,
                body,
                ("", "", None),
            ),
            1,
        );
    }
    // Smooth weighted round robin: a small house has a bit of everything, too.
    let shares: u32 = KINDS.iter().map(|kind| kind.share).sum();
    let mut credit = [0_i64; KINDS.len()];
    let mut built = [0_usize; KINDS.len()];
    for _ in 2..count {
        for (credit, kind) in credit.iter_mut().zip(&KINDS) {
            *credit += i64::from(kind.share);
        }
        let next = (0..KINDS.len())
            .max_by_key(|at| (credit[*at], KINDS.len() - at))
            .unwrap_or(0);
        credit[next] -= i64::from(shares);
        let (kind, number) = (&KINDS[next], built[next]);
        built[next] += 1;
        let (place, round) = (number % ROOMS.len(), number / ROOMS.len() + 1);
        let Room { id, name, .. } = &ROOMS[place];
        let (mut id, mut name) = (
            format!("{}.{id}_{}", kind.domain, kind.suffix),
            format!("{name} {}", kind.label),
        );
        if round > 1 {
            id = format!("{id}_{round}");
            name = format!("{name} {round}");
        }
        let fragments = (kind.capability, kind.tail, kind.features);
        add(
            entity(id, name, Some(place), (kind.body)(random), fragments),
            kind.rate,
        );
    }
    (entities, wheel)
}

fn entity(
    id: String,
    name: String,
    room: Option<usize>,
    body: Body,
    (capability, tail, features): (&str, &str, Option<u32>),
) -> Entity {
    let mut tail = format!(r#"{tail}"friendly_name":"#);
    push_string(&mut tail, &name);
    tail.push(',');
    if let Some(features) = features {
        tail.push_str(&format!(r#""supported_features":{features},"#));
    }
    let mut fixed = format!("{{{capability}{tail}");
    fixed.pop();
    fixed.push('}');
    let capability = capability.to_owned();
    Entity {
        id,
        name,
        room,
        index: 0,
        body,
        capability,
        tail,
        fixed: fixed.into(),
    }
}
