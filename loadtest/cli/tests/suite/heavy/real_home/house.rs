//! What people, devices and automations do in the house, over Home Assistant's REST API
//! (<https://developers.home-assistant.io/docs/api/rest>).

use std::collections::BTreeMap;
use std::time::Duration;

use ha_services::Services;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// The house's API.
pub struct House {
    pub url: String,
    pub token: String,
    client: Client,
    /// Entities of the demo integration, by domain.
    entities: BTreeMap<String, Vec<String>>,
}

/// Texts that have given others trouble.
const TEXTS: [&str; 8] = [
    "hello",
    "düsseldorf \"q\"",
    "comma, space = eq\\",
    "日本語 🏠",
    "on",
    "12.5",
    "unknown",
    "a b",
];

impl House {
    pub async fn of(services: &Services) -> Self {
        let client = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        let mut house = Self {
            url: services.home_assistant_url(),
            token: services.home_assistant_token().unwrap(),
            client,
            entities: BTreeMap::new(),
        };
        let states = house.send(house.request(Method::GET, "states")).await;
        for state in states.as_array().unwrap() {
            let entity = state["entity_id"].as_str().unwrap();
            let domain = entity.split('.').next().unwrap();
            let of = house.entities.entry(domain.to_owned()).or_default();
            of.push(entity.to_owned());
        }
        house
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/{path}", self.url);
        self.client.request(method, url).bearer_auth(&self.token)
    }

    async fn send(&self, request: RequestBuilder) -> Value {
        let answer = request.send().await.unwrap();
        let (status, url) = (answer.status(), answer.url().clone());
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{url} answers {status}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn call(&self, domain: &str, service: &str, data: Value) {
        let request = self.request(Method::POST, &format!("services/{domain}/{service}"));
        self.send(request.json(&data)).await;
    }

    pub async fn set(&self, entity: &str, state: &str, attributes: Value) {
        let body = json!({"state": state, "attributes": attributes});
        self.send(
            self.request(Method::POST, &format!("states/{entity}"))
                .json(&body),
        )
        .await;
    }

    pub async fn remove(&self, entity: &str) {
        self.send(self.request(Method::DELETE, &format!("states/{entity}")))
            .await;
    }

    /// The n-th entity of a domain, round and round.
    fn nth(&self, domain: &str, number: usize) -> &str {
        let of = &self.entities[domain];
        &of[number % of.len()]
    }

    /// A round of everything; rounds differ by their number.
    pub async fn live(&self, round: usize) {
        let number = i64::try_from(round).unwrap();
        let entity = |domain: &str| self.nth(domain, round);
        let calls: Vec<(&str, &str, Value)> = vec![
            (
                "light",
                "turn_on",
                json!({"entity_id": "light.kitchen_lights", "brightness": 1 + round % 255}),
            ),
            (
                "light",
                "turn_on",
                json!({"entity_id": "light.bed_light", "hs_color": [(number * 37) % 360, 0.1 + (number % 90) as f64]}),
            ),
            ("light", "toggle", json!({"entity_id": entity("light")})),
            (
                "climate",
                "set_temperature",
                json!({"entity_id": "climate.heatpump", "temperature": 15.0 + (number % 100) as f64 / 10.0}),
            ),
            (
                "climate",
                "set_hvac_mode",
                json!({"entity_id": "climate.hvac", "hvac_mode": (["heat", "cool", "off"][round % 3])}),
            ),
            (
                "cover",
                "set_cover_position",
                json!({"entity_id": "cover.hall_window", "position": (number * 17) % 100}),
            ),
            (
                "fan",
                "set_percentage",
                json!({"entity_id": "fan.living_room_fan", "percentage": (number * 13) % 100}),
            ),
            (
                "media_player",
                "volume_set",
                json!({"entity_id": "media_player.walkman", "volume_level": (number % 100) as f64 / 100.0}),
            ),
            ("switch", "toggle", json!({"entity_id": entity("switch")})),
            (
                "lock",
                ["lock", "unlock"][round % 2],
                json!({"entity_id": "lock.front_door"}),
            ),
            (
                "humidifier",
                "set_humidity",
                json!({"entity_id": "humidifier.humidifier", "humidity": 20 + round % 60}),
            ),
            (
                "number",
                "set_value",
                json!({"entity_id": "number.volume", "value": (number * 7) % 100}),
            ),
            (
                "select",
                "select_next",
                json!({"entity_id": entity("select")}),
            ),
            (
                "text",
                "set_value",
                json!({"entity_id": "text.text", "value": (TEXTS[round % TEXTS.len()])}),
            ),
            (
                "input_number",
                "set_value",
                json!({"entity_id": "input_number.n", "value": (number * 7919) as f64 / 100.0}),
            ),
            (
                "input_text",
                "set_value",
                json!({"entity_id": "input_text.t", "value": (TEXTS[(round + 3) % TEXTS.len()])}),
            ),
            (
                "input_boolean",
                "toggle",
                json!({"entity_id": "input_boolean.a"}),
            ),
            (
                "input_select",
                "select_next",
                json!({"entity_id": "input_select.s"}),
            ),
            ("counter", "increment", json!({"entity_id": "counter.c"})),
            (
                "homeassistant",
                "update_entity",
                json!({"entity_id": "sensor.rnd"}),
            ),
            (
                "vacuum",
                ["start", "return_to_base"][round % 2],
                json!({"entity_id": "vacuum.0_ground_floor"}),
            ),
            ("button", "press", json!({"entity_id": entity("button")})),
            ("siren", "toggle", json!({"entity_id": entity("siren")})),
            (
                "water_heater",
                "set_temperature",
                json!({"entity_id": "water_heater.demo_water_heater", "temperature": 40 + round % 20}),
            ),
        ];
        futures_util::future::join_all(
            calls
                .into_iter()
                .map(|(domain, service, data)| self.call(domain, service, data)),
        )
        .await;
        self.devices(round).await;
    }

    /// States that come from outside, as from a script of the user's.
    pub async fn devices(&self, round: usize) {
        let temperature = json!({"unit_of_measurement": "°C", "device_class": "temperature",
            "state_class": "measurement", "friendly_name": "Outdoor \"temp\", north\\side"});
        let state = format!("{:.1}", 21.0 - (round % 400) as f64 / 10.0);
        self.set("sensor.outdoor", &state, temperature).await;
        let flaky = ["unavailable", "unknown", "12.5", "-0", "1e3", "nan", ""][round % 7];
        self.set("sensor.flaky", flaky, json!({"unit_of_measurement": "W"}))
            .await;
        // The state stays, the attributes change; twice as fast as a microsecond clock allows.
        for number in 0..3 {
            let attributes =
                json!({"device_class": "motion", "nested": {"a": [round, number, {"b": null}]}});
            self.set("binary_sensor.motion", "on", attributes).await;
        }
        let place = json!({"latitude": 50.0 + (round % 100) as f64 / 33.0, "longitude": 4.1,
            "gps_accuracy": round % 60, "source_type": "gps"});
        let zone = ["home", "not_home", "work"][round % 3];
        self.set("device_tracker.phone", zone, place).await;
        // One that comes and goes, with a class and without.
        let guest = format!("sensor.guest_{}", round % 5);
        let class = if round.is_multiple_of(2) {
            json!({"device_class": "power", "unit_of_measurement": "W"})
        } else {
            json!({})
        };
        self.set(&guest, &round.to_string(), class).await;
        if round.is_multiple_of(3) {
            self.remove(&guest).await;
        }
    }

    /// As many changes as Home Assistant makes, at once.
    pub async fn burst(&self, count: u64) {
        let burst = json!({"count": count, "entities": 40, "rate": 0, "chunk": 50});
        self.call("loadgen", "burst", burst).await;
    }
}
