//! How figures are rounded.

/// Three digits behind the point: more are noise.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
