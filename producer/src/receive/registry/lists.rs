//! Home Assistant's registries as they are listed, and what they say together of each entity. Pure.
//!
//! An entity is in its own area, else in its device's; an area is on a floor. An entity is called by
//! the name that its user gave it, else by what Home Assistant shows with its state, else by its
//! device's name and its own (Home Assistant, `Entity._friendly_name_internal`).

use super::rows::{EntityRow, Registry};
use ha_enrich::EntityRecord;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A list that is read, in the order in which they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Areas.
    Areas,
    /// Devices.
    Devices,
    /// Entities.
    Entities,
    /// Floors, from 2024.4 on.
    Floors,
    /// Labels, from 2024.4 on.
    Labels,
    /// Current states: the only ones that know units, and entities that are in no registry.
    States,
}

impl List {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Areas,
        Self::Devices,
        Self::Entities,
        Self::Floors,
        Self::Labels,
        Self::States,
    ];

    /// The command that lists it.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Areas => "config/area_registry/list",
            Self::Devices => "config/device_registry/list",
            Self::Entities => "config/entity_registry/list",
            Self::Floors => "config/floor_registry/list",
            Self::Labels => "config/label_registry/list",
            Self::States => "get_states",
        }
    }

    /// The event that says that it has changed.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Areas => "area_registry_updated",
            Self::Devices => "device_registry_updated",
            Self::Entities => "entity_registry_updated",
            Self::Floors => "floor_registry_updated",
            Self::Labels => "label_registry_updated",
            // While Home Assistant starts, entities have no states yet.
            Self::States => "homeassistant_started",
        }
    }
}

/// Names in Home Assistant have no limit.
const TEXT_CHARS_MAX: usize = 255;

/// Entities beyond this are left out: they are no home.
const ENTITIES_MAX: usize = 100_000;

/// The lists as read last.
#[derive(Debug, Default)]
pub struct Lists {
    areas: HashMap<String, Area>,
    devices: HashMap<String, Device>,
    entities: HashMap<String, Entity>,
    floors: HashMap<String, String>,
    labels: HashMap<String, String>,
    states: HashMap<String, State>,
}

#[derive(Debug, Deserialize)]
struct Area {
    area_id: String,
    name: String,
    floor_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Floor {
    floor_id: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Label {
    label_id: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Device {
    id: String,
    area_id: Option<String>,
    name: Option<String>,
    name_by_user: Option<String>,
    manufacturer: Option<Text>,
    model: Option<Text>,
}

#[derive(Debug, Deserialize)]
struct Entity {
    entity_id: String,
    area_id: Option<String>,
    device_id: Option<String>,
    disabled_by: Option<IgnoredAny>,
    platform: Option<String>,
    name: Option<String>,
    original_name: Option<String>,
    #[serde(default)]
    has_entity_name: bool,
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ListedState {
    entity_id: String,
    attributes: State,
}

#[derive(Debug, Default, Deserialize)]
struct State {
    friendly_name: Option<Text>,
    unit_of_measurement: Option<Text>,
}

/// Integrations put numbers where a text belongs.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Other(IgnoredAny),
}

impl Text {
    fn as_deref(text: Option<&Self>) -> Option<&str> {
        match text {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }
}

impl Lists {
    /// Takes an answer in.
    ///
    /// # Errors
    /// JSON of another shape; the list stays as it was.
    pub fn read(&mut self, list: List, json: &[u8]) -> Result<(), serde_json::Error> {
        match list {
            List::Areas => {
                let rows: Vec<Area> = serde_json::from_slice(json)?;
                self.areas = by(rows, |row| row.area_id.clone());
            }
            List::Devices => {
                let rows: Vec<Device> = serde_json::from_slice(json)?;
                self.devices = by(rows, |row| row.id.clone());
            }
            List::Entities => {
                let rows: Vec<Entity> = serde_json::from_slice(json)?;
                let rows = rows.into_iter().filter(|row| row.disabled_by.is_none());
                self.entities = by(rows.take(ENTITIES_MAX), |row| row.entity_id.clone());
            }
            List::Floors => {
                let rows: Vec<Floor> = serde_json::from_slice(json)?;
                self.floors = rows
                    .into_iter()
                    .map(|row| (row.floor_id, row.name))
                    .collect();
            }
            List::Labels => {
                let rows: Vec<Label> = serde_json::from_slice(json)?;
                self.labels = rows
                    .into_iter()
                    .map(|row| (row.label_id, row.name))
                    .collect();
            }
            List::States => {
                let rows: Vec<ListedState> = serde_json::from_slice(json)?;
                // What is registered and has no state at the moment keeps its name and unit.
                self.states.retain(|id, _| self.entities.contains_key(id));
                let rows = rows.into_iter().map(|row| (row.entity_id, row.attributes));
                self.states.extend(rows.take(ENTITIES_MAX));
            }
        }
        Ok(())
    }

    /// An older Home Assistant does not have the list, or the user may not read it.
    pub fn without(&mut self, list: List) {
        match list {
            List::Areas => self.areas.clear(),
            List::Devices => self.devices.clear(),
            List::Entities => self.entities.clear(),
            List::Floors => self.floors.clear(),
            List::Labels => self.labels.clear(),
            List::States => self.states.clear(),
        }
    }

    /// What they say of each entity that is wanted. What is as it was in `before` is the same row.
    #[must_use]
    pub fn join(&self, before: &Registry, keeps: impl Fn(&str) -> bool) -> Registry {
        let ids: HashSet<&String> = self.entities.keys().chain(self.states.keys()).collect();
        let rows = ids.into_iter().filter(|id| keeps(id)).map(|id| {
            let row = self.row(id);
            match before.rows.get(id.as_str()) {
                Some(same) if **same == row => (id.as_str().into(), Arc::clone(same)),
                _ => (id.as_str().into(), Arc::new(row)),
            }
        });
        Registry {
            rows: rows.collect(),
        }
    }

    fn row(&self, entity_id: &str) -> EntityRow {
        let state = self.states.get(entity_id);
        let shown = state.and_then(|state| Text::as_deref(state.friendly_name.as_ref()));
        let unit = state.and_then(|state| Text::as_deref(state.unit_of_measurement.as_ref()));
        let mut record = EntityRecord {
            entity_id: Cow::Owned(entity_id.to_owned()),
            friendly_name: shown.and_then(cut),
            unit: unit.and_then(cut),
            ..EntityRecord::default()
        };
        let Some(entity) = self.entities.get(entity_id) else {
            return EntityRow {
                record,
                labels: Vec::new(),
            };
        };
        let device = entity
            .device_id
            .as_ref()
            .and_then(|id| self.devices.get(id));
        let area_id = entity.area_id.as_ref();
        let area_id = area_id.or_else(|| device.and_then(|device| device.area_id.as_ref()));
        let area = area_id.and_then(|id| self.areas.get(id));
        let floor = area.and_then(|area| self.floors.get(area.floor_id.as_ref()?));
        let device_name = device.and_then(Device::name);
        let mut labels: Vec<String> = entity
            .labels
            .iter()
            .filter_map(|id| self.labels.get(id))
            .filter_map(|name| cut(name).map(Cow::into_owned))
            .collect();
        labels.sort_unstable();
        record.area = area.and_then(|area| cut(&area.name));
        record.floor = floor.and_then(|name| cut(name));
        record.device = device_name.and_then(cut);
        record.manufacturer =
            device.and_then(|device| Text::as_deref(device.manufacturer.as_ref()).and_then(cut));
        record.model =
            device.and_then(|device| Text::as_deref(device.model.as_ref()).and_then(cut));
        record.integration = entity.platform.as_deref().and_then(cut);
        record.labels = (!labels.is_empty()).then(|| Cow::Owned(labels.join(",")));
        if let Some(name) = entity.name.as_deref() {
            record.friendly_name = cut(name);
        } else if record.friendly_name.is_none() {
            record.friendly_name = entity.default_name(device_name).as_deref().and_then(cut);
        }
        EntityRow { record, labels }
    }
}

impl Device {
    fn name(&self) -> Option<&str> {
        self.name_by_user.as_deref().or(self.name.as_deref())
    }
}

impl Entity {
    fn default_name(&self, device: Option<&str>) -> Option<String> {
        match (self.original_name.as_deref(), device) {
            (Some(own), Some(device)) if self.has_entity_name => Some(format!("{device} {own}")),
            (None, device) if self.has_entity_name => device.map(str::to_owned),
            (own, _) => own.map(str::to_owned),
        }
    }
}

fn by<T>(rows: impl IntoIterator<Item = T>, id: impl Fn(&T) -> String) -> HashMap<String, T> {
    rows.into_iter().map(|row| (id(&row), row)).collect()
}

/// None for an empty text, which says nothing.
fn cut(text: &str) -> Option<Cow<'static, str>> {
    let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Lists {
        let mut lists = Lists::default();
        for (list, json) in [
            (
                List::Areas,
                r#"[{"area_id":"k","name":"Kitchen","floor_id":"g","aliases":[]},{"area_id":"o","name":"Office","floor_id":null}]"#,
            ),
            (
                List::Floors,
                r#"[{"floor_id":"g","name":"Ground Floor","level":0}]"#,
            ),
            (
                List::Labels,
                r#"[{"label_id":"b","name":"Beta"},{"label_id":"a","name":"Alpha"}]"#,
            ),
            (
                List::Devices,
                r#"[{"id":"d","area_id":"k","name":"Stove","name_by_user":null,"manufacturer":"Acme","model":7},
                    {"id":"e","area_id":null,"name":"Bulb","name_by_user":"My bulb","manufacturer":null,"model":""}]"#,
            ),
            (
                List::Entities,
                r#"[{"entity_id":"sensor.inherits","area_id":null,"device_id":"d","platform":"demo","disabled_by":null,
                     "name":null,"original_name":"Power","has_entity_name":true,"labels":["b","gone","a"]},
                    {"entity_id":"sensor.own","area_id":"o","device_id":"d","platform":"demo","disabled_by":null,
                     "name":"Mine","original_name":"Power","has_entity_name":true},
                    {"entity_id":"light.nameless","area_id":null,"device_id":"e","platform":"hue","disabled_by":null,
                     "name":null,"original_name":null,"has_entity_name":true,"labels":[]},
                    {"entity_id":"sensor.off","area_id":"o","device_id":null,"platform":"x","disabled_by":"user"}]"#,
            ),
            (
                List::States,
                r#"[{"entity_id":"sensor.own","state":"1","attributes":{"friendly_name":"Stove Power","unit_of_measurement":"W"}},
                    {"entity_id":"sun.sun","state":"x","attributes":{"friendly_name":5}}]"#,
            ),
        ] {
            lists.read(list, json.as_bytes()).unwrap();
        }
        lists
    }

    fn said(registry: &Registry, entity_id: &str) -> String {
        registry.row(entity_id).map_or_else(String::new, |row| {
            serde_json::to_string(&row.record).unwrap()
        })
    }

    #[test]
    fn areas_are_inherited_and_names_made_as_in_home_assistant() {
        let registry = lists().join(&Registry::default(), |_| true);
        for (entity_id, expected) in [
            (
                "sensor.inherits",
                r#"{"entity_id":"sensor.inherits","area":"Kitchen","floor":"Ground Floor","device":"Stove","manufacturer":"Acme","integration":"demo","labels":"Alpha,Beta","friendly_name":"Stove Power"}"#,
            ),
            (
                "sensor.own",
                r#"{"entity_id":"sensor.own","area":"Office","device":"Stove","manufacturer":"Acme","integration":"demo","friendly_name":"Mine","unit":"W"}"#,
            ),
            (
                "light.nameless",
                r#"{"entity_id":"light.nameless","device":"My bulb","integration":"hue","friendly_name":"My bulb"}"#,
            ),
            ("sun.sun", r#"{"entity_id":"sun.sun"}"#),
            ("sensor.off", ""),
        ] {
            assert_eq!(said(&registry, entity_id), expected);
        }
        assert_eq!(registry.len(), 4);
        let facts = registry.row("sensor.inherits").unwrap().facts().unwrap();
        assert_eq!(facts.labels, ["Alpha", "Beta"]);
        assert!(registry.row("sun.sun").unwrap().facts().is_none());
        let some = lists().join(&Registry::default(), |id| id.starts_with("sun."));
        assert_eq!(some.len(), 1);
    }

    #[test]
    fn only_what_changed_is_another_row() {
        let mut lists = lists();
        let first = lists.join(&Registry::default(), |_| true);
        lists
            .read(List::Floors, br#"[{"floor_id":"g","name":"Erdgeschoss"}]"#)
            .unwrap();
        // Home Assistant restarts: no states yet, and what is in no registry is gone.
        lists.read(List::States, b"[]").unwrap();
        let second = lists.join(&first, |_| true);
        let changed: Vec<_> = second
            .changed_since(&first)
            .map(|row| row.record.entity_id.as_ref())
            .collect();
        assert_eq!(changed, ["sensor.inherits"]);
        assert_eq!(second.len(), 3);
        assert_eq!(
            second.row("sensor.own").unwrap().record.unit.as_deref(),
            Some("W")
        );
    }

    #[test]
    fn what_is_no_list_leaves_the_last_one() {
        let mut lists = lists();
        for list in List::ALL {
            assert!(lists.read(list, br#"{"not":"a list"}"#).is_err());
        }
        assert_eq!(lists.join(&Registry::default(), |_| true).len(), 4);
        lists.without(List::Floors);
        let registry = lists.join(&Registry::default(), |_| true);
        assert_eq!(registry.row("sensor.inherits").unwrap().record.floor, None);
    }
}
