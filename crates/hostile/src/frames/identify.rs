//! Messages of identify.

use super::{prefixed, protobuf};

/// Fields of a message by their number.
pub const KEY: u64 = 1;
/// An address.
pub const LISTEN: u64 = 2;
/// A protocol.
pub const PROTOCOL: u64 = 3;
/// Where the sender saw the receiver.
pub const OBSERVED: u64 = 4;
/// The name of the program.
pub const AGENT: u64 = 6;
/// A signed record of addresses.
pub const RECORD: u64 = 8;

/// A message of these fields, behind its length.
pub fn message(fields: &[(u64, &[u8])]) -> Vec<u8> {
    let fields: Vec<u8> = fields
        .iter()
        .flat_map(|(number, content)| protobuf::bytes(*number, content))
        .collect();
    prefixed(&fields)
}
