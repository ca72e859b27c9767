//! The long-lived access token.

use std::fmt;

/// A long-lived access token. It has no `Display` and its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(String);

impl AccessToken {
    /// Wraps a token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// `text`, unless the token is in it.
    pub(crate) fn withheld_from(&self, text: String) -> String {
        if !self.0.is_empty() && text.contains(&self.0) {
            return "(withheld: it repeats the access token)".to_owned();
        }
        text
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

impl From<String> for AccessToken {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl From<&str> for AccessToken {
    fn from(token: &str) -> Self {
        Self(token.to_owned())
    }
}
