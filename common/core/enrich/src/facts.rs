//! What the stages look at: the event, read once, and what travelled with it.

use crate::value::numeric_value;
use crate::{ObservedWeather, Options};
use ha_batch::{Envelope, Origin};
use ha_event::{Entry, Scalar, StateChanged, UtcMicros};
use std::borrow::Cow;

/// Everything that a stage may depend on.
pub(crate) struct Facts<'a, 'f> {
    pub event: &'f StateChanged<'a>,
    pub domain: &'f str,
    /// The point's time.
    pub time: UtcMicros,
    pub arrival: Arrival<'a>,
    pub weather: Option<&'f ObservedWeather<'a>>,
    pub options: &'f Options,
    /// Attributes of the new state, in their order; values as JSON text.
    pub attributes: &'f [Entry<'a>],
    /// Of the new state; the old state's on removal.
    pub device_class: Option<Cow<'a, str>>,
    pub unit: Option<Cow<'a, str>>,
    pub is_total_increasing: bool,
    /// The number that the new state stands for.
    pub value: Option<f64>,
}

/// The last observation before the event; where there is none, any of those after it.
fn last_before<'a, 'f>(
    observed: &'f [ObservedWeather<'a>],
    time: UtcMicros,
) -> Option<&'f ObservedWeather<'a>> {
    let before = observed
        .iter()
        .filter(|weather| weather.facts.observed_at_us <= time.0);
    let last = before.max_by_key(|weather| weather.facts.observed_at_us);
    last.or_else(|| observed.first())
}

/// How the event came here.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub instance: &'a str,
    pub origin: Origin,
    pub run_id: Option<u64>,
    pub sequence: Option<u64>,
    pub received_at: UtcMicros,
}

impl<'a, 'f> Facts<'a, 'f> {
    /// None for an event without a time, which `ha_event::parse` refuses.
    pub fn gather(
        event: &'f StateChanged<'a>,
        envelope: &'a Envelope<'_>,
        observed: &'f [ObservedWeather<'a>],
        options: &'f Options,
    ) -> Option<Self> {
        let mut facts = Self {
            time: event.source_time()?,
            event,
            domain: event.domain(),
            arrival: Arrival {
                instance: &envelope.instance,
                origin: envelope.origin,
                run_id: envelope.run_id,
                sequence: envelope.sequence,
                received_at: UtcMicros(envelope.received_at_ns.div_euclid(1_000)),
            },
            weather: last_before(observed, event.source_time()?),
            options,
            attributes: &[],
            device_class: None,
            unit: None,
            is_total_increasing: false,
            value: None,
        };
        match (&event.new_state, &event.old_state) {
            (Some(new), _) => {
                facts.read_attributes(&new.entries);
                let class = facts.device_class.as_deref();
                facts.value = numeric_value(facts.domain, class, &new.state);
            }
            (None, Some(old)) => facts.device_class = old.attributes.text("device_class"),
            (None, None) => {}
        }
        Some(facts)
    }

    fn read_attributes(&mut self, entries: &'f [Entry<'a>]) {
        self.attributes = entries;
        for (name, value) in entries {
            let text = || match Scalar::parse(value) {
                Scalar::Text(text) => Some(text),
                _ => None,
            };
            match name.as_ref() {
                "device_class" => self.device_class = text(),
                "unit_of_measurement" => self.unit = text(),
                "state_class" => self.is_total_increasing = *value == "\"total_increasing\"",
                _ => {}
            }
        }
    }

    /// One attribute of the new state.
    pub fn attribute(&self, name: &str) -> Option<Scalar<'a>> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| Scalar::parse(value))
    }
}
