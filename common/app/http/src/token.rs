//! The shared secret of both ends.

use std::fmt;
use subtle::ConstantTimeEq;

/// A bearer token (RFC 6750). Its debug form is a row of stars, and it has no other.
#[derive(Clone)]
pub struct BearerToken(String);

impl BearerToken {
    /// Wraps a token; `None` for an empty one, which would let everybody in.
    #[must_use]
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        (!token.is_empty()).then(|| Self(token.to_owned()))
    }

    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header `Authorization` carries this token. The time it takes tells nothing of the
    /// token but its length.
    pub(crate) fn is_carried_by(&self, header: &[u8]) -> bool {
        let Some((scheme, given)) = header.split_at_checked(7) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(given.ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_accepted() {
        let token = BearerToken::new(" s3cret\n").unwrap();
        for (header, accepted) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3crets", false),
            ("Bearer S3CRET", false),
            ("Bearer ", false),
            ("Basic s3cret", false),
            ("s3cret", false),
            ("", false),
        ] {
            assert_eq!(
                token.is_carried_by(header.as_bytes()),
                accepted,
                "{header:?}"
            );
        }
        assert!(BearerToken::new(" \n").is_none());
        assert_eq!(format!("{token:?}"), "***");
    }
}
