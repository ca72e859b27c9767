use crate::facts::Facts;
use crate::{EVENTS, Report};
use ha_point::Point;

/// What the stages make together.
pub(crate) struct Outcome<'a> {
    pub point: Point<'a>,
    pub report: Report,
}

impl<'a> Outcome<'a> {
    pub fn new(facts: &Facts<'a, '_>) -> Self {
        Self {
            point: Point::new(EVENTS, facts.time.as_nanos()),
            report: Report::default(),
        }
    }
}
