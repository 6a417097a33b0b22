//! Frames of yamux.

/// Kinds of frames.
pub const DATA: u8 = 0;
/// Opens the window.
pub const UPDATE: u8 = 1;
/// Asks for an answer.
pub const PING: u8 = 2;
/// Says goodbye.
pub const GO_AWAY: u8 = 3;

/// Begins a stream.
pub const SYN: u16 = 1;
/// Answers the beginning.
pub const ACK: u16 = 2;
/// Ends one direction.
pub const FIN: u16 = 4;
/// Ends both.
pub const RST: u16 = 8;

/// Credit of a new stream.
pub const WINDOW: usize = 256 * 1024;

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of the kinds above.
    pub kind: u8,
    /// Flags.
    pub flags: u16,
    /// The stream, or 0.
    pub stream: u32,
    /// A length, a credit, a ping's number or a reason.
    pub length: u32,
    /// What came behind a frame with data.
    pub body: Vec<u8>,
}

/// A header, whatever it says.
pub fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// Data.
pub fn data(flags: u16, stream: u32, body: &[u8]) -> Vec<u8> {
    [&header(DATA, flags, stream, body.len() as u32)[..], body].concat()
}

/// A new stream without data.
pub fn open(stream: u32) -> Vec<u8> {
    header(UPDATE, SYN, stream, 0)
}

/// A goodbye.
pub fn goodbye(code: u32) -> Vec<u8> {
    header(GO_AWAY, 0, 0, code)
}

/// Takes the first whole frame from the front of a buffer.
pub fn take(buffer: &mut Vec<u8>) -> Option<Frame> {
    let word = |at: usize| Some(u32::from_be_bytes(buffer.get(at..at + 4)?.try_into().ok()?));
    let (stream, length) = (word(4)?, word(8)?);
    let (kind, flags) = (buffer[1], u16::from_be_bytes([buffer[2], buffer[3]]));
    let len = 12 + if kind == DATA { length as usize } else { 0 };
    let body = buffer.get(12..len)?.to_vec();
    buffer.drain(..len);
    Some(Frame {
        kind,
        flags,
        stream,
        length,
        body,
    })
}

/// All whole frames of some bytes.
pub fn all(mut bytes: Vec<u8>) -> Vec<Frame> {
    std::iter::from_fn(|| take(&mut bytes)).collect()
}
