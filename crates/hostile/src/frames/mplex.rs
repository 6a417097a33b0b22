//! Frames of mplex.

use super::{prefixed, varint};

/// Opens a stream; the body is its name.
pub const NEW: u64 = 0;
/// Data of the side that opened the stream.
pub const MESSAGE: u64 = 2;
/// Its end.
pub const CLOSE: u64 = 4;
/// A reset by the side that opened the stream.
pub const RESET: u64 = 6;

/// A frame.
pub fn frame(stream: u64, flag: u64, body: &[u8]) -> Vec<u8> {
    [varint(stream << 3 | flag), prefixed(body)].concat()
}
