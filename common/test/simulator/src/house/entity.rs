use super::body::Body;
use std::sync::Arc;

/// One entity: what never changes about it, and the body that moves.
#[derive(Debug)]
pub(crate) struct Entity {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Index in `ROOMS`.
    pub(crate) room: Option<usize>,
    /// Index in the state machine.
    pub(crate) index: u32,
    pub(super) body: Body,
    /// Attribute fragments without braces: those before the body's own, and those behind.
    pub(super) capability: String,
    pub(super) tail: String,
    /// The whole object where the body has no attributes of its own, and while unavailable.
    pub(super) fixed: Arc<str>,
}

impl Entity {
    /// Writes the state into `state` and returns the attributes; `scratch` is only its work space.
    pub(super) fn describe(
        &self,
        time_us: i64,
        state: &mut String,
        scratch: &mut String,
    ) -> Arc<str> {
        state.clear();
        self.body.push_state(time_us, state);
        if !self.body.has_attributes() {
            return self.fixed.clone();
        }
        scratch.clear();
        scratch.push('{');
        scratch.push_str(&self.capability);
        self.body.push_attributes(time_us, scratch);
        scratch.push_str(&self.tail);
        // Every fragment ends with a comma.
        scratch.pop();
        scratch.push('}');
        scratch.as_str().into()
    }
}
