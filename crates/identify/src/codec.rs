//! The identify message: bytes to [`Message`] and back, without I/O.

use std::{collections::BTreeSet, error::Error};

use bytes::{Buf, Bytes, BytesMut};
use peerkit_core::{Envelope, Fault, Multiaddr, PeerRecord, ProtocolId, PublicKey};
use prost::Message as _;

/// What a peer says of itself.
///
/// In a push, what is missing has not changed; see [`update`](Self::update).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The identity key. The connection's own knowledge of it counts, not this.
    pub public_key: Option<PublicKey>,
    /// What family of networks it belongs to, for example `ipfs/0.1.0`; for information only.
    pub protocol_version: Option<String>,
    /// Its program, usually `name/version`.
    pub agent_version: Option<String>,
    /// Where it listens, the most useful address first.
    pub listen_addrs: Vec<Multiaddr>,
    /// The protocols that it accepts, the most useful one first.
    pub protocols: Vec<ProtocolId>,
    /// From where it sees the receiver of this message come.
    pub observed_addr: Option<Multiaddr>,
    /// Its addresses under its signature, not yet verified:
    /// [`PeerRecord::from_envelope`] does that.
    pub signed_peer_record: Option<Envelope>,
}

impl Message {
    /// The most protocols that are sent or kept of a remote.
    pub const MAX_PROTOCOLS: usize = 256;
    /// The most listen addresses that are sent or kept of a remote.
    pub const MAX_ADDRESSES: usize = 64;
    /// The most bytes of a version text that are sent or kept of a remote.
    pub const MAX_TEXT_LEN: usize = 128;

    /// One message with its length in front, or two.
    ///
    /// Rust peers read only the first message, up to 4096 bytes, and old Go peers
    /// 2048. So the signed record has a message of its own when both together have
    /// more than 2048, and lists are cut at the end until the first message has at
    /// most 4096: first the addresses, of which at least 1024 bytes stay, then the
    /// protocols. A record that does not fit a message is left out.
    pub fn encode(&self) -> Bytes {
        let record = self.signed_peer_record.as_ref().map(Envelope::encoded);
        let mut whole = self.fields();
        whole.signed_peer_record = record.cloned();
        if framed_len(&whole) <= COMMON_LEN {
            return whole.encode_length_delimited_to_vec().into();
        }
        let record = Fields {
            signed_peer_record: whole.signed_peer_record.take(),
            ..Fields::default()
        };
        trim(&mut whole);
        let mut encoded = whole.encode_length_delimited_to_vec();
        if (1..=MAX_MESSAGE_LEN).contains(&record.encoded_len()) {
            encoded.extend(record.encode_length_delimited_to_vec());
        }
        encoded.into()
    }

    /// Takes over what a push says; what it does not mention stays.
    pub fn update(&mut self, push: Self) {
        fn replace<T>(old: &mut Option<T>, new: Option<T>) {
            *old = new.or(old.take());
        }
        replace(&mut self.public_key, push.public_key);
        replace(&mut self.protocol_version, push.protocol_version);
        replace(&mut self.agent_version, push.agent_version);
        replace(&mut self.observed_addr, push.observed_addr);
        replace(&mut self.signed_peer_record, push.signed_peer_record);
        if !push.listen_addrs.is_empty() {
            self.listen_addrs = push.listen_addrs;
        }
        if !push.protocols.is_empty() {
            self.protocols = push.protocols;
        }
    }

    /// Everything but the signed record.
    fn fields(&self) -> Fields {
        let text = |text: &String| Bytes::from(printable(text.as_bytes()));
        let addresses = self.listen_addrs.iter().take(Self::MAX_ADDRESSES);
        let protocols = self.protocols.iter().take(Self::MAX_PROTOCOLS);
        Fields {
            public_key: self
                .public_key
                .as_ref()
                .map(|key| key.encode_protobuf().into()),
            listen_addrs: addresses.map(|addr| addr.to_vec().into()).collect(),
            protocols: protocols
                .map(|protocol| Bytes::copy_from_slice(protocol.as_str().as_bytes()))
                .collect(),
            observed_addr: self.observed_addr.as_ref().map(|addr| addr.to_vec().into()),
            protocol_version: self.protocol_version.as_ref().map(text),
            agent_version: self.agent_version.as_ref().map(text),
            signed_peer_record: None,
        }
    }
}

/// Reads the messages of one identify exchange as their bytes come in.
///
/// Several messages are merged as protobuf does it: lists grow, other fields are
/// replaced. What can't be used alone is left out and the rest kept: addresses
/// that can't be read or have more than [`PeerRecord::MAX_ADDRESS_LEN`] bytes, names
/// of protocols that are none, a record that is no envelope, repetitions, and what
/// goes beyond the limits of [`Message`]. Texts are cut off at
/// [`Message::MAX_TEXT_LEN`] bytes, and characters that a terminal would obey are
/// written as their numbers.
///
/// It holds one unfinished message of at most [`MAX_MESSAGE_LEN`] bytes beside the
/// bytes it is given. After an error it is of no more use.
///
/// ```
/// use peerkit_identify::{Decoder, Message};
///
/// let sent = Message { agent_version: Some("demo/1.0".into()), ..Message::default() };
/// let mut decoder = Decoder::default();
/// for piece in sent.encode().chunks(3) {
///     decoder.handle_read(piece)?;
/// }
/// assert_eq!(decoder.finish()?, sent);
/// # Ok::<_, peerkit_identify::DecodeError>(())
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    input: BytesMut,
    messages: usize,
    merged: Message,
    known_addrs: BTreeSet<Multiaddr>,
    known_protocols: BTreeSet<ProtocolId>,
}

impl Decoder {
    /// Takes the next bytes of the stream.
    pub fn handle_read(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.input.extend_from_slice(bytes);
        while let Some(message) = self.next_message()? {
            self.merge(message)?;
        }
        Ok(())
    }

    /// The stream has ended: all that was said.
    pub fn finish(self) -> Result<Message, DecodeError> {
        if !self.input.is_empty() {
            return Err(DecodeError::Truncated);
        }
        if self.messages == 0 {
            return Err(DecodeError::NoMessage);
        }
        Ok(self.merged)
    }

    fn next_message(&mut self) -> Result<Option<Fields>, DecodeError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        if self.messages == MAX_MESSAGES {
            return Err(DecodeError::TooManyMessages);
        }
        let Some((prefix, len)) = length(&self.input)? else {
            return Ok(None);
        };
        if self.input.len() < prefix + len {
            return Ok(None);
        }
        self.input.advance(prefix);
        self.messages += 1;
        let message = self.input.split_to(len).freeze();
        Fields::decode(message)
            .map(Some)
            .map_err(|error| DecodeError::Malformed(error.into()))
    }

    fn merge(&mut self, message: Fields) -> Result<(), DecodeError> {
        if let Some(key) = message.public_key {
            let key = PublicKey::try_decode_protobuf(&key);
            self.merged.public_key = Some(key.map_err(|error| DecodeError::BadKey(error.into()))?);
        }
        message
            .listen_addrs
            .iter()
            .for_each(|addr| self.merge_addr(addr));
        message
            .protocols
            .iter()
            .for_each(|name| self.merge_protocol(name));
        // A copy, so that what is kept does not hold on to the whole input.
        let record = message.signed_peer_record.map(|record| record.to_vec());
        self.merged.update(Message {
            protocol_version: message.protocol_version.map(|text| printable(&text)),
            agent_version: message.agent_version.map(|text| printable(&text)),
            observed_addr: message.observed_addr.and_then(|addr| address(&addr)),
            signed_peer_record: record.and_then(|record| Envelope::decode(record).ok()),
            ..Message::default()
        });
        Ok(())
    }

    fn merge_addr(&mut self, bytes: &[u8]) {
        let full = self.merged.listen_addrs.len() == Message::MAX_ADDRESSES;
        let addr = if full { None } else { address(bytes) };
        if let Some(addr) = addr
            && self.known_addrs.insert(addr.clone())
        {
            self.merged.listen_addrs.push(addr);
        }
    }

    fn merge_protocol(&mut self, name: &[u8]) {
        let full = self.merged.protocols.len() == Message::MAX_PROTOCOLS;
        let name = if full {
            None
        } else {
            std::str::from_utf8(name).ok()
        };
        if let Some(protocol) = name.and_then(|name| ProtocolId::try_from(name).ok())
            && self.known_protocols.insert(protocol.clone())
        {
            self.merged.protocols.push(protocol);
        }
    }
}

/// Why bytes are no identify exchange.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A message is longer than [`MAX_MESSAGE_LEN`].
    #[error("an identify message has at most {MAX_MESSAGE_LEN} bytes, not {len}")]
    MessageTooLarge {
        /// The length that was announced.
        len: u64,
    },
    /// More than [`MAX_MESSAGES`] messages.
    #[error("an identify exchange has at most {MAX_MESSAGES} messages")]
    TooManyMessages,
    /// A length prefix or a message is broken.
    #[error("the remote's identify message is malformed: {0}")]
    Malformed(#[source] Box<dyn Error + Send + Sync>),
    /// The public key is broken or of an unknown type.
    #[error("the public key in the remote's identify message can't be used: {0}")]
    BadKey(#[source] Box<dyn Error + Send + Sync>),
    /// The stream ended within a message.
    #[error("the remote's identify message was cut off")]
    Truncated,
    /// The stream ended before a message.
    #[error("the remote closed the stream without an identify message")]
    NoMessage,
}

impl DecodeError {
    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::MessageTooLarge { .. }
            | Self::TooManyMessages
            | Self::Malformed(_)
            | Self::BadKey(_) => Fault::PeerMisbehaved,
            Self::Truncated | Self::NoMessage => Fault::Network,
        }
    }
}

/// The most bytes of one message that is read, without its length; Go and JavaScript read as much.
pub const MAX_MESSAGE_LEN: usize = 8 * 1024;

/// The most messages of one exchange that are read.
pub const MAX_MESSAGES: usize = 10;

/// What every implementation reads in one message, the length in front included.
const COMMON_LEN: usize = 2048;

/// What all current implementations read in one message, the length in front included.
const FIRST_LEN: usize = 4096;

/// Addresses get this much of the first message even when there are very many protocols.
const ADDRESSES_LEN: usize = 1024;

/// The message on the wire; texts are bytes here, since a bad one must not spoil the rest.
/// Number 7 was in use once.
#[derive(Clone, PartialEq, prost::Message)]
struct Fields {
    #[prost(bytes = "bytes", optional, tag = "1")]
    public_key: Option<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    listen_addrs: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    protocols: Vec<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    observed_addr: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    protocol_version: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    agent_version: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "8")]
    signed_peer_record: Option<Bytes>,
}

fn framed_len(fields: &Fields) -> usize {
    let len = fields.encoded_len();
    prost::length_delimiter_len(len) + len
}

/// Cuts the lists at their ends, until the message fits [`FIRST_LEN`].
fn trim(fields: &mut Fields) {
    let over = |fields: &Fields| framed_len(fields).saturating_sub(FIRST_LEN);
    let addresses = list_len(&fields.listen_addrs);
    let wanted = addresses.saturating_sub(over(fields));
    keep(&mut fields.listen_addrs, wanted.max(ADDRESSES_LEN));
    let wanted = list_len(&fields.protocols).saturating_sub(over(fields));
    keep(&mut fields.protocols, wanted);
}

/// Keeps the first items of a list that together take at most `limit` bytes of a message.
fn keep(list: &mut Vec<Bytes>, limit: usize) {
    let mut len = 0;
    let fits = list.iter().take_while(|item| {
        len += item_len(item);
        len <= limit
    });
    let count = fits.count();
    list.truncate(count);
}

fn list_len(list: &[Bytes]) -> usize {
    list.iter().map(item_len).sum()
}

/// One byte for the field's number, then length and content.
fn item_len(item: &Bytes) -> usize {
    1 + prost::length_delimiter_len(item.len()) + item.len()
}

/// The length in front of a message and how many bytes it takes itself; `None` asks for more bytes.
fn length(input: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    use unsigned_varint::decode::{self, Error};
    match decode::u64(input) {
        Ok((len, rest)) => match usize::try_from(len) {
            Ok(short) if short <= MAX_MESSAGE_LEN => Ok(Some((input.len() - rest.len(), short))),
            _ => Err(DecodeError::MessageTooLarge { len }),
        },
        Err(Error::Insufficient) => Ok(None),
        Err(error) => Err(DecodeError::Malformed(error.into())),
    }
}

fn address(bytes: &[u8]) -> Option<Multiaddr> {
    if bytes.is_empty() || bytes.len() > PeerRecord::MAX_ADDRESS_LEN {
        return None;
    }
    Multiaddr::try_from(bytes.to_vec()).ok()
}

/// Text that can be logged and shown, of at most [`Message::MAX_TEXT_LEN`] bytes.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        let len = text.len();
        if is_command(character) {
            text.extend(character.escape_unicode());
        } else {
            text.push(character);
        }
        if text.len() > Message::MAX_TEXT_LEN {
            text.truncate(len);
            break;
        }
    }
    text
}

/// Characters that are not seen but change what is seen: control characters, line
/// and paragraph ends, invisible spaces, changes of the direction of writing.
fn is_command(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_obeys_are_written_as_numbers() {
        assert_eq!(printable(b"go-ipfs/0.4 \xc3\xa9"), "go-ipfs/0.4 é");
        assert_eq!(printable(b"a\x1b[31m\n"), "a\\u{1b}[31m\\u{a}");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(printable(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(printable(&[b'x'; 9000]).len(), Message::MAX_TEXT_LEN);
        let cut = printable("é€".repeat(1000).as_bytes());
        assert!((Message::MAX_TEXT_LEN - 3..=Message::MAX_TEXT_LEN).contains(&cut.len()));
        assert!(printable(&[7; 9000]).len() <= Message::MAX_TEXT_LEN);
    }

    #[test]
    fn lists_are_cut_to_whole_items() {
        let mut list = vec![Bytes::from_static(b"12345678"); 5];
        assert_eq!(list_len(&list), 50);
        keep(&mut list, 39);
        assert_eq!(list.len(), 3);
        keep(&mut list, 0);
        assert!(list.is_empty());
    }
}
