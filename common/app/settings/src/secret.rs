//! Values that never show.

use crate::Problems;
use std::fmt;

/// A token, password or URL with a password. Its debug form is a row of stars, and it has no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Takes a secret from its variable or from the file that `<NAME>_FILE` names; spaces and line
/// breaks around it are dropped, since editors put them there.
pub(crate) fn secret(
    problems: &mut Problems,
    name: &str,
    value: Option<&String>,
    file: Option<&String>,
) -> Option<Secret> {
    match (value, file) {
        (Some(_), Some(_)) => {
            problems.other(format!(
                "{name} and {name}_FILE are both set; keep one of them"
            ));
            None
        }
        (Some(value), None) => Some(Secret::new(value.trim())),
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => Some(Secret::new(text.trim())),
            Ok(_) => {
                problems.other(format!(
                    "{name}_FILE: {path:?} is empty; it must hold the secret"
                ));
                None
            }
            Err(error) => {
                problems.other(format!("{name}_FILE: {path:?} cannot be read: {error}"));
                None
            }
        },
        (None, None) => None,
    }
}
