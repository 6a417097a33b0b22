//! identify.

use peerkit_identify::{DecodeError, Decoder, MAX_MESSAGE_LEN, MAX_MESSAGES, Message};

use crate::input::Input;

/// The messages of one exchange: cut anywhere they mean the same, and what is kept is bounded.
pub fn identify(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = 1 + input.below(200);
    let bytes = input.rest();
    let whole = decode(bytes, bytes.len().max(1));
    let cut = decode(bytes, piece);
    assert_eq!(whole.is_ok(), cut.is_ok());
    let Ok(message) = whole else {
        return;
    };
    assert_eq!(message, cut.expect("they are the same"));
    assert!(bytes.len() <= MAX_MESSAGES * (MAX_MESSAGE_LEN + 3));
    assert!(message.listen_addrs.len() <= Message::MAX_ADDRESSES);
    assert!(message.protocols.len() <= Message::MAX_PROTOCOLS);
    for text in [&message.protocol_version, &message.agent_version] {
        let text = text.as_deref().unwrap_or_default();
        assert!(text.len() <= Message::MAX_TEXT_LEN);
        assert!(!text.contains(char::is_control));
    }
    check_encoding(&message);
}

/// What is sent on can be read, and once it was trimmed it stays as it is.
fn check_encoding(message: &Message) {
    let encoded = message.encode();
    let once = decode(&encoded, encoded.len()).expect("it was encoded here");
    let encoded = once.encode();
    let twice = decode(&encoded, encoded.len()).expect("it was encoded here");
    assert_eq!(once, twice);
}

fn decode(bytes: &[u8], piece: usize) -> Result<Message, DecodeError> {
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(piece) {
        decoder.handle_read(piece)?;
    }
    decoder.finish()
}
