//! Lines of multistream-select.

use super::prefixed;

/// The header with which both sides begin.
pub const HEADER: &[u8] = b"\x13/multistream/1.0.0\n";

/// A line with its length and its end.
pub fn line(text: &str) -> Vec<u8> {
    prefixed(format!("{text}\n").as_bytes())
}

/// Header and proposal in one.
pub fn proposal(protocol: &str) -> Vec<u8> {
    [HEADER, &line(protocol)].concat()
}
