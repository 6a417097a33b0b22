//! Frames of each layer, by hand: the encoders of peerkit refuse to write what these write.

pub mod identify;
pub mod keys;
pub mod mplex;
pub mod multistream;
pub mod noise;
pub mod protobuf;
pub mod pubsub;
pub mod yamux;

/// An unsigned varint, in its shortest form.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Bytes behind their length.
pub fn prefixed(body: &[u8]) -> Vec<u8> {
    [&varint(body.len() as u64), body].concat()
}

/// Reads hexadecimal digits; `None` when it is something else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_have_their_shortest_form() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(300), [0xac, 2]);
        assert_eq!(varint(u64::MAX).len(), 10);
        assert_eq!(prefixed(b"ab"), [2, b'a', b'b']);
    }

    #[test]
    fn hexadecimal_digits_are_read() {
        assert_eq!(from_hex("00fF"), Some(vec![0, 255]));
        assert_eq!(from_hex("0g"), None);
    }
}
