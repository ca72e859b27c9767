//! Areas, floors, devices, entities and labels, as `config/*_registry/list` answers them, and the
//! home's configuration.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use crate::house::{House, ROOMS};

/// A registry of the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// Areas.
    Area,
    /// Devices.
    Device,
    /// Entities.
    Entity,
    /// Floors.
    Floor,
    /// Labels.
    Label,
}

impl Registry {
    /// The word in the names of commands and events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Area => "area",
            Self::Device => "device",
            Self::Entity => "entity",
            Self::Floor => "floor",
            Self::Label => "label",
        }
    }

    /// The field that names an entry, in the lists and (but for devices) in the events.
    fn id_field(self) -> &'static str {
        match self {
            Self::Area => "area_id",
            Self::Device => "id",
            Self::Entity => "entity_id",
            Self::Floor => "floor_id",
            Self::Label => "label_id",
        }
    }
}

/// What the registries hold.
#[derive(Debug)]
pub(crate) struct Registries(Mutex<Lists>);

#[derive(Debug)]
struct Lists {
    areas: Vec<Value>,
    floors: Vec<Value>,
    devices: Vec<Value>,
    entities: Vec<Value>,
    labels: Vec<Value>,
}

impl Lists {
    fn of(&mut self, registry: Registry) -> &mut Vec<Value> {
        match registry {
            Registry::Area => &mut self.areas,
            Registry::Device => &mut self.devices,
            Registry::Entity => &mut self.entities,
            Registry::Floor => &mut self.floors,
            Registry::Label => &mut self.labels,
        }
    }
}

const CONFIG_ENTRY: &str = "6c1f8c0d2b3e4f5a8b9c0d1e2f3a4b5c";
const FLOORS: [(&str, &str, i32); 3] = [
    ("basement", "Basement", -1),
    ("ground_floor", "Ground Floor", 0),
    ("upper_floor", "Upper Floor", 1),
];
const LABELS: [(&str, &str, &str); 2] = [
    ("comfort", "Comfort", "green"),
    ("energy", "Energy", "yellow"),
];
/// Manufacturer and model by domain.
const MODELS: [(&str, &str, &str); 5] = [
    ("light", "Signify", "LCT015"),
    ("climate", "Danfoss", "014G2461"),
    ("switch", "Shelly", "Plus Plug S"),
    ("media_player", "Sonos", "One"),
    ("sensor", "Aqara", "WSDCGQ11LM"),
];

impl Registries {
    pub(crate) fn of(house: &House) -> Self {
        let areas: Vec<Value> = ROOMS
            .iter()
            .map(|room| {
                json!({"aliases": [], "area_id": room.id, "floor_id": room.floor, "icon": null,
                    "labels": [], "name": room.name, "picture": null})
            })
            .collect();
        let floors: Vec<Value> = FLOORS
            .iter()
            .map(|(id, name, level)| {
                json!({"aliases": [], "floor_id": id, "icon": null, "level": level, "name": name})
            })
            .collect();
        let labels: Vec<Value> = LABELS
            .iter()
            .map(|(id, name, color)| {
                json!({"color": color, "description": null, "icon": null, "label_id": id, "name": name})
            })
            .collect();
        let (devices, entities) = house.entities.iter().enumerate().map(describe).unzip();
        Self(Mutex::new(Lists {
            areas,
            floors,
            devices,
            entities,
            labels,
        }))
    }

    /// The `result` of the list command, a JSON array.
    pub(crate) fn list(&self, registry: Registry) -> String {
        serde_json::to_string(self.lists().of(registry)).unwrap_or_default()
    }

    /// Changes fields of an entry; the data of the event that says so, as Home Assistant fires it.
    /// None if there is no such entry.
    pub(crate) fn update(
        &self,
        registry: Registry,
        id: &str,
        changes: &Map<String, Value>,
    ) -> Option<Value> {
        let mut lists = self.lists();
        let field = registry.id_field();
        let entry = lists
            .of(registry)
            .iter_mut()
            .find(|entry| entry[field] == id)?;
        let mut old = Map::new();
        for (name, value) in changes {
            let before = std::mem::replace(&mut entry[name.as_str()], value.clone());
            old.insert(name.clone(), before);
        }
        let mut data = json!({"action": "update"});
        let named = if registry == Registry::Device {
            "device_id"
        } else {
            field
        };
        data[named] = id.into();
        if matches!(registry, Registry::Device | Registry::Entity) {
            data["changes"] = Value::Object(old);
        }
        Some(data)
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `get_config` answers.
pub(crate) fn config(ha_version: &str) -> Value {
    json!({
        "latitude": 52.3731339, "longitude": 4.8903147, "elevation": 0,
        "unit_system": {
            "length": "km", "accumulated_precipitation": "mm", "mass": "g", "pressure": "Pa",
            "temperature": "°C", "volume": "L", "wind_speed": "m/s",
        },
        "location_name": "Home", "time_zone": "Europe/Amsterdam",
        "components": ["history", "recorder", "sensor", "light", "switch", "climate", "demo"],
        "config_dir": "/config", "whitelist_external_dirs": ["/config/www", "/media"],
        "allowlist_external_dirs": ["/config/www", "/media"], "allowlist_external_urls": [],
        "version": ha_version, "config_source": "storage",
        "recovery_mode": false, "state": "RUNNING", "external_url": null,
        "internal_url": null, "currency": "EUR", "country": "NL", "language": "en",
        "safe_mode": false,
    })
}

/// Each entity of a room is a device of its own; only every third entity has its own area, the
/// others are where their device is.
fn describe((position, entity): (usize, &crate::house::Entity)) -> (Value, Value) {
    let device_id = format!("{position:032x}");
    let area = entity.room.map(|room| ROOMS[room].id);
    let domain = entity.id.split_once('.').map_or("", |(domain, _)| domain);
    let (_, manufacturer, model) = MODELS
        .iter()
        .find(|(known, ..)| *known == domain)
        .unwrap_or(&("", "Demo", "Generic"));
    let labels: &[&str] = match domain {
        "climate" => &["comfort"],
        "switch" => &["energy"],
        _ => &[],
    };
    let device = json!({
        "area_id": area, "config_entries": [CONFIG_ENTRY], "configuration_url": null,
        "connections": [], "disabled_by": null, "entry_type": null, "hw_version": null,
        "id": device_id, "identifiers": [["demo", entity.id]], "labels": labels,
        "manufacturer": manufacturer, "model": model, "name": entity.name, "name_by_user": null,
        "serial_number": null, "sw_version": "1.4.2", "via_device_id": null,
    });
    let registered = json!({
        "area_id": if position % 3 == 0 { area } else { None }, "categories": {},
        "config_entry_id": CONFIG_ENTRY, "device_id": device_id, "disabled_by": null,
        "entity_category": null, "entity_id": entity.id, "has_entity_name": true,
        "hidden_by": null, "icon": null, "id": format!("{:032x}", position + 0x1000_0000),
        "labels": labels, "name": null, "options": {}, "original_name": entity.name,
        "platform": "demo", "translation_key": null, "unique_id": entity.id,
    });
    (device, registered)
}
