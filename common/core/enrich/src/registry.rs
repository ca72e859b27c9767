//! Registry facts as tags of points, where somebody asked for them.

use ha_batch::EntityFacts;
use ha_point::Point;
use std::borrow::Cow;

/// A registry fact that can be made a tag. A point's identity then depends on the registry: the
/// same event, processed after an area was renamed, is another point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtraTag {
    /// Area name: the entity's own, else that of its device.
    Area,
    /// Name of the area's floor.
    Floor,
    /// Device name.
    Device,
    /// Integration that provides the entity.
    Integration,
    /// Names of the entity's labels, sorted, a comma between them.
    Labels,
}

impl ExtraTag {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Area,
        Self::Floor,
        Self::Device,
        Self::Integration,
        Self::Labels,
    ];

    /// The tag's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Area => "area",
            Self::Floor => "floor",
            Self::Device => "device",
            Self::Integration => "integration",
            Self::Labels => "labels",
        }
    }
}

/// Adds the wanted facts of the point's entity, which are among those that travel in the batch.
/// Points of other measurements than state changes get none.
pub fn tag<'a>(point: &mut Point<'a>, facts: &'a [EntityFacts<'_>], wanted: &[ExtraTag]) {
    if wanted.is_empty() || point.measurement != crate::EVENTS {
        return;
    }
    let entity_id = point.tags.iter().find(|(name, _)| name == "entity_id");
    let Some(found) = entity_id.and_then(|(_, entity_id)| of_entity(facts, entity_id)) else {
        return;
    };
    for tag in wanted {
        let value = match tag {
            ExtraTag::Area => found.area.as_deref().map(Cow::Borrowed),
            ExtraTag::Floor => found.floor.as_deref().map(Cow::Borrowed),
            ExtraTag::Device => found.device.as_deref().map(Cow::Borrowed),
            ExtraTag::Integration => found.integration.as_deref().map(Cow::Borrowed),
            ExtraTag::Labels => {
                (!found.labels.is_empty()).then(|| Cow::Owned(found.labels.join(",")))
            }
        };
        if let Some(value) = value {
            point.tag(tag.as_str(), value);
        }
    }
}

/// Those of a batch's facts that [`tag`] may take for this event of the batch: with them alone it
/// adds the same tags as with all.
///
/// The event is not parsed, so that one which a parser does not survive can be given a batch of its
/// own: only its strings are looked at, one after the other.
#[must_use]
pub fn of_event<'f, 'a>(json: &[u8], facts: &'f [EntityFacts<'a>]) -> Vec<&'f EntityFacts<'a>> {
    let mut found: Vec<&EntityFacts<'a>> = Vec::new();
    if facts.is_empty() {
        return found;
    }
    // The event's own id, and most often the same again in its old and new state.
    for entity_id in EntityIds(Strings { json, at: 0 }) {
        if !found.iter().any(|facts| facts.entity_id == entity_id) {
            found.extend(of_entity(facts, &entity_id));
        }
    }
    found
}

/// The values of all members named `entity_id`, at whatever depth, that are strings.
struct EntityIds<'a>(Strings<'a>);

impl<'a> Iterator for EntityIds<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let name = self.0.next()?;
            if self.0.comes_to(b':') && self.0.is_before_string() {
                let value = self.0.next()?;
                if text(name).is_some_and(|name| name == "entity_id")
                    && let Some(value) = text(value)
                {
                    return Some(value);
                }
            }
        }
    }
}

/// The strings of a JSON text in their order, with their quotes.
struct Strings<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at + memchr::memchr(b'"', self.json.get(self.at..)?)?;
        let mut at = start + 1;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.json.get(at..)?)?;
            if self.json.get(at) == Some(&b'"') {
                self.at = at + 1;
                return self.json.get(start..self.at);
            }
            // Whatever is escaped by it ends no string.
            at += 2;
        }
    }
}

impl Strings<'_> {
    /// Goes behind white space and this byte, if that is what comes next.
    fn comes_to(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.json.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn is_before_string(&mut self) -> bool {
        self.skip_space();
        self.json.get(self.at) == Some(&b'"')
    }

    fn skip_space(&mut self) {
        while matches!(self.json.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }
}

/// What a quoted string stands for; none where it is not valid.
fn text(quoted: &[u8]) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', quoted).is_some() {
        return serde_json::from_slice(quoted).ok().map(Cow::Owned);
    }
    let inside = quoted.get(1..quoted.len().checked_sub(1)?)?;
    std::str::from_utf8(inside).ok().map(Cow::Borrowed)
}

/// The producer sorts them; who else writes batches need not.
fn of_entity<'f, 'a>(facts: &'f [EntityFacts<'a>], entity_id: &str) -> Option<&'f EntityFacts<'a>> {
    let sorted = facts.binary_search_by(|facts| facts.entity_id.as_ref().cmp(entity_id));
    sorted.map_or_else(
        |_| facts.iter().find(|facts| facts.entity_id == entity_id),
        |found| facts.get(found),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_point::Value;
    use proptest::prelude::*;

    #[test]
    fn the_wanted_facts_of_the_entity_become_tags() {
        let facts = [
            EntityFacts {
                entity_id: "light.b".into(),
                area: Some("Attic".into()),
                ..EntityFacts::default()
            },
            EntityFacts {
                entity_id: "light.a".into(),
                area: Some("Kitchen".into()),
                integration: Some("hue".into()),
                labels: vec!["one".into(), "two".into()],
                ..EntityFacts::default()
            },
        ];
        let tagged = |measurement: &'static str, wanted: &[ExtraTag]| {
            let mut point = Point::new(measurement, 1);
            point.tag("entity_id", "light.a");
            point.field("value", Value::Float(1.0));
            tag(&mut point, &facts, wanted);
            assert!(point.seal());
            point.to_line()
        };
        let line = tagged(crate::EVENTS, &ExtraTag::ALL);
        assert_eq!(
            line,
            "home_assistant_events,area=Kitchen,entity_id=light.a,integration=hue,labels=one\\,two value=1.0 1"
        );
        let line = tagged(crate::EVENTS, &[]);
        assert_eq!(line, "home_assistant_events,entity_id=light.a value=1.0 1");
        let line = tagged("other", &[ExtraTag::Area]);
        assert_eq!(line, "other,entity_id=light.a value=1.0 1");
    }

    fn named(entity_id: &str, area: &str) -> EntityFacts<'static> {
        EntityFacts {
            entity_id: entity_id.to_owned().into(),
            area: Some(area.to_owned().into()),
            ..EntityFacts::default()
        }
    }

    #[test]
    fn the_facts_of_an_event_are_those_of_its_own_entity() {
        let facts = [
            named("light.b", "Attic"),
            named("light.a", "Kitchen"),
            named("light.all", "Hall"),
        ];
        for (json, expected) in [
            (r#"{"data":{"entity_id":"light.a"}}"#, &["light.a"][..]),
            (
                "{\"data\": { \"entity_id\"\t:\n \"light.b\" }}",
                &["light.b"],
            ),
            // Escaped, as JSON may write any character.
            (
                r#"{"data":{"entity\u005fid":"light\u002ea","x":"\"entity_id\":\"light.b\""}}"#,
                &["light.a"],
            ),
            // A group names its members in a list: they are other entities.
            (
                r#"{"data":{"entity_id":"light.all","new_state":{"entity_id":"light.all","attributes":{"entity_id":["light.a","light.b"]}}}}"#,
                &["light.all"],
            ),
            (r#"{"entity_id":"entity_id","light.a":"light.b"}"#, &[]),
            (r#"{"data":{"entity_id":null,"name":"light.a"}}"#, &[]),
            // No JSON: nothing is enriched either.
            (r#"{"entity_id":"light.a"#, &[]),
            ("\"\\", &[]),
            ("", &[]),
        ] {
            let found = of_event(json.as_bytes(), &facts);
            let found: Vec<_> = found.iter().map(|facts| facts.entity_id.as_ref()).collect();
            assert_eq!(found, expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_look_for_facts(json in proptest::collection::vec(any::<u8>(), 0..200)) {
            let facts = [named("light.a", "Kitchen")];
            prop_assert!(of_event(&json, &facts).len() <= 1);
        }

        /// Ids of few dead letters, so that they meet, begin each other and need escapes; facts in any
        /// order, an entity among them twice.
        #[test]
        fn with_them_alone_an_event_gets_the_tags_that_it_gets_with_all(
            entity_id in "[ab\"\\\\é]{1,3}",
            facts in proptest::collection::vec(("[ab\"\\\\é]{1,3}", "[xyz]"), 0..12),
            nested in "[ab\"\\\\é]{1,3}",
            is_sorted: bool,
        ) {
            let mut facts: Vec<_> =
                facts.iter().map(|(id, area)| named(&format!("s.{id}"), area)).collect();
            if is_sorted {
                facts.sort_by(|one, other| one.entity_id.cmp(&other.entity_id));
            }
            let entity_id = format!("s.{entity_id}");
            let state = serde_json::json!({
                "entity_id": entity_id, "state": "1",
                "attributes": {"entity_id": format!("s.{nested}")},
                "last_changed": "2026-01-01T00:00:00+00:00",
                "last_updated": "2026-01-01T00:00:00+00:00",
            });
            let json = serde_json::json!({
                "event_type": "state_changed",
                "data": {"entity_id": entity_id, "old_state": null, "new_state": state},
            });
            let json = json.to_string();
            let line = |facts: &[EntityFacts<'_>]| {
                let envelope = ha_batch::Envelope {
                    id: Default::default(),
                    instance: "home".into(),
                    run_id: None,
                    sequence: None,
                    received_at_ns: 1,
                    origin: ha_batch::Origin::Rest,
                    json: json.as_bytes().into(),
                };
                let mut point = crate::enrich(&envelope, None, &crate::Options::default()).unwrap();
                tag(&mut point, facts, &ExtraTag::ALL);
                assert!(point.seal());
                point.to_line()
            };
            let alone: Vec<_> = of_event(json.as_bytes(), &facts).into_iter().cloned().collect();
            prop_assert!(alone.len() <= 2, "{alone:?}");
            prop_assert_eq!(line(&alone), line(&facts));
        }
    }
}
