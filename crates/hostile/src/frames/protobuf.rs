//! Protobuf fields.

use super::{prefixed, varint};

/// A field with bytes, a text or a message.
pub fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), prefixed(content)].concat()
}

/// A field with a number.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}
