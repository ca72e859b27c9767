//! A state's text in 16 bytes.

use std::{fmt, sync::Arc};

const INLINE_BYTES_MAX: usize = 14;

/// A state string. Up to 14 bytes, which nearly all states are, stand in place; longer ones behind
/// one shared pointer. 16 bytes each, and no more in an `Option`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StateText(Place);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Inline {
        length: u8,
        bytes: [u8; INLINE_BYTES_MAX],
    },
    // A boxed str behind the Arc keeps the pointer thin.
    Shared(Arc<Box<str>>),
}

impl StateText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Place::Inline { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default()
            }
            Place::Shared(text) => text,
        }
    }
}

impl From<&str> for StateText {
    fn from(text: &str) -> Self {
        if text.len() > INLINE_BYTES_MAX {
            return Self(Place::Shared(Arc::new(text.into())));
        }
        let mut bytes = [0; INLINE_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Place::Inline {
            length: text.len() as u8,
            bytes,
        })
    }
}

impl fmt::Debug for StateText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl fmt::Display for StateText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_faithful() {
        assert_eq!(size_of::<Option<StateText>>(), 16);
        for text in [
            "",
            "on",
            "fourteen bytes",
            "fifteen bytes!!",
            "日本語",
            "a much longer state text",
        ] {
            assert_eq!(StateText::from(text).as_str(), text);
        }
    }
}
