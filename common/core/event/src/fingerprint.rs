/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): small, the same in every version
/// of ours, and not meant to keep anyone out. Times of points, fingerprints of dead letters and ids are
/// made of it: another function here would tear those that are stored from those to come.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    /// The vectors that its authors publish.
    #[test]
    fn it_is_the_published_function() {
        for (text, hash) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(fingerprint(text.as_bytes()), hash, "{text:?}");
        }
    }
}
