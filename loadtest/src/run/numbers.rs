//! Numbers as they are reported.

/// Three digits behind the point: more are noise.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
