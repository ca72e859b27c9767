//! Registry facts as tags of points, where somebody asked for them.

use ha_frame::EntityFacts;
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

/// Adds the wanted facts of the point's entity, which are among those that travel in the frame.
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

/// The producer sorts them; who else writes frames need not.
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
}
