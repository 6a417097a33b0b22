//! Bytes -> RPCs.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    DecodeError, DecodeLimits,
    wire::{Field, Reader},
};
use crate::{
    Control, IHave, Message, MessageId, Partial, PeerInfo, Prune, Rpc, SubscriptionChange, Topic,
};

/// Takes frames apart. What it returns refers to the frame and copies nothing but ids and names of topics.
///
/// Keep one for each stream: it remembers the names of the last topics, so that messages share them.
#[derive(Debug)]
pub struct RpcDecoder {
    limits: DecodeLimits,
    recent: Vec<Topic>,
}

/// An RPC and how much of it was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decoded {
    /// What was read.
    pub rpc: Rpc,
    /// Entries that were skipped: beyond a limit, or with the name of a topic that is missing, too long
    /// or no UTF-8.
    pub skipped: usize,
}

/// Topics that are remembered.
const RECENT_MAX: usize = 16;

impl RpcDecoder {
    /// Skips what goes beyond the limits.
    pub fn new(limits: DecodeLimits) -> Self {
        Self {
            limits,
            recent: Vec::new(),
        }
    }

    /// Takes one frame (without its length) apart. Unknown fields are skipped.
    pub fn decode(&mut self, frame: &Bytes) -> Result<Decoded, DecodeError> {
        let mut decoding = Decoding {
            frame,
            decoder: self,
            ids: [0; 3],
            out: Decoded::default(),
        };
        decoding.rpc()?;
        Ok(decoding.out)
    }

    fn topic(&mut self, name: &[u8]) -> Option<Topic> {
        let known = self
            .recent
            .iter()
            .position(|it| it.as_str().as_bytes() == name);
        if let Some(at) = known {
            self.recent[..=at].rotate_right(1);
            return Some(self.recent[0].clone());
        }
        if name.len() > self.limits.topic_len_max {
            return None;
        }
        let topic = Topic::from(str::from_utf8(name).ok()?);
        self.recent.truncate(RECENT_MAX - 1);
        self.recent.insert(0, topic.clone());
        Some(topic)
    }
}

struct Decoding<'a> {
    frame: &'a Bytes,
    decoder: &'a mut RpcDecoder,
    /// Ids so far, of each kind.
    ids: [usize; 3],
    out: Decoded,
}

#[derive(Clone, Copy)]
enum IdKind {
    Have,
    Want,
    DontWant,
}

impl<'a> Decoding<'a> {
    fn rpc(&mut self) -> Result<(), DecodeError> {
        let mut reader = Reader::new(self.frame);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => self.subscription(field)?,
                2 => self.message(field)?,
                3 => self.control(field)?,
                10 => self.partial(field)?,
                6_492_434 => {
                    field.range()?;
                    self.out.rpc.test_extension = true;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fields(&self, range: Range<usize>) -> Reader<'a> {
        Reader::within(self.frame, range)
    }

    fn slice(&self, field: Field) -> Result<Bytes, DecodeError> {
        Ok(self.frame.slice(field.range()?))
    }

    /// A part that may be kept for long, on its own where it would hold on to a frame that is much
    /// larger: limits count what a message has, not what it was sent with.
    fn keep(&self, range: Range<usize>) -> Bytes {
        if self.frame.len() > 2 * range.len() + SLACK {
            return Bytes::copy_from_slice(&self.frame[range]);
        }
        self.frame.slice(range)
    }

    fn topic(&mut self, range: Option<Range<usize>>) -> Option<Topic> {
        self.topic_in(self.frame, range)
    }

    fn topic_in(&mut self, bytes: &[u8], range: Option<Range<usize>>) -> Option<Topic> {
        let topic = range.and_then(|range| self.decoder.topic(&bytes[range]));
        self.out.skipped += usize::from(topic.is_none());
        topic
    }

    /// Whether one more fits; otherwise it is counted as skipped.
    fn admit(&mut self, count: usize, max: usize) -> bool {
        self.out.skipped += usize::from(count >= max);
        count < max
    }

    fn subscription(&mut self, field: Field) -> Result<(), DecodeError> {
        let mut fields = self.fields(field.range()?);
        let max = self.decoder.limits.subscriptions_max;
        if !self.admit(self.out.rpc.subscriptions.len(), max) {
            return Ok(());
        }
        let (mut flags, mut topic) = ([false; 3], None);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => flags[0] = field.varint()? != 0,
                2 => topic = Some(field.range()?),
                3 => flags[1] = field.varint()? != 0,
                4 => flags[2] = field.varint()? != 0,
                _ => {}
            }
        }
        if let Some(topic) = self.topic(topic) {
            self.out.rpc.subscriptions.push(SubscriptionChange {
                subscribe: flags[0],
                topic,
                requests_partial: flags[1],
                supports_sending_partial: flags[2],
            });
        }
        Ok(())
    }

    fn message(&mut self, field: Field) -> Result<(), DecodeError> {
        let range = field.range()?;
        let max = self.decoder.limits.messages_max;
        if !self.admit(self.out.rpc.messages.len(), max) {
            return Ok(());
        }
        let encoded = self.keep(range);
        let mut fields = Reader::new(&encoded);
        let slice = |field: Field| field.range().map(|range| Some(encoded.slice(range)));
        let [mut from, mut data, mut seqno, mut signature, mut key] = [const { None }; 5];
        let mut topic = None;
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => from = slice(field)?,
                2 => data = slice(field)?,
                3 => seqno = slice(field)?,
                // Old messages name several: the last one counts, as for any field that stands there twice.
                4 => topic = Some(field.range()?),
                5 => signature = slice(field)?,
                6 => key = slice(field)?,
                _ => {}
            }
        }
        if let Some(topic) = self.topic_in(&encoded, topic) {
            self.out.rpc.messages.push(Arc::new(Message {
                from,
                data: data.unwrap_or_default(),
                seqno,
                topic,
                signature,
                key,
                encoded,
            }));
        }
        Ok(())
    }

    fn control(&mut self, field: Field) -> Result<(), DecodeError> {
        let mut fields = self.fields(field.range()?);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => self.ihave(field)?,
                2 => {
                    let ids = self.id_list(field, IdKind::Want)?;
                    extend(&mut self.out.rpc.control.iwant, ids);
                }
                3 => self.graft(field)?,
                4 => self.prune(field)?,
                5 => {
                    let ids = self.id_list(field, IdKind::DontWant)?;
                    extend(&mut self.out.rpc.control.idontwant, ids);
                }
                6 => self.extensions(field)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn control_mut(&mut self) -> &mut Control {
        &mut self.out.rpc.control
    }

    fn ihave(&mut self, field: Field) -> Result<(), DecodeError> {
        let range = field.range()?;
        let max = self.decoder.limits.control_entries_max;
        if !self.admit(self.out.rpc.control.ihave.len(), max) {
            return Ok(());
        }
        let mut fields = self.fields(range);
        let (mut topic, mut ids) = (None, Vec::new());
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => topic = Some(field.range()?),
                2 => self.id(field, IdKind::Have, &mut ids)?,
                _ => {}
            }
        }
        if let Some(topic) = self.topic(topic) {
            self.control_mut().ihave.push(IHave { topic, ids });
        }
        Ok(())
    }

    fn id_list(&mut self, field: Field, kind: IdKind) -> Result<Vec<MessageId>, DecodeError> {
        let mut fields = self.fields(field.range()?);
        let mut ids = Vec::new();
        while let Some(field) = fields.next_field()? {
            if field.number == 1 {
                self.id(field, kind, &mut ids)?;
            }
        }
        Ok(ids)
    }

    fn id(
        &mut self,
        field: Field,
        kind: IdKind,
        ids: &mut Vec<MessageId>,
    ) -> Result<(), DecodeError> {
        let id = &self.frame[field.range()?];
        let limits = &self.decoder.limits;
        let count = &mut self.ids[kind as usize];
        if *count < limits.ids_max && id.len() <= limits.id_len_max {
            *count += 1;
            // A copy, so that a remembered id does not hold on to a whole frame.
            ids.push(MessageId::copy_from_slice(id));
        } else {
            self.out.skipped += 1;
        }
        Ok(())
    }

    fn graft(&mut self, field: Field) -> Result<(), DecodeError> {
        let mut fields = self.fields(field.range()?);
        let max = self.decoder.limits.control_entries_max;
        if !self.admit(self.out.rpc.control.graft.len(), max) {
            return Ok(());
        }
        let mut topic = None;
        while let Some(field) = fields.next_field()? {
            if field.number == 1 {
                topic = Some(field.range()?);
            }
        }
        if let Some(topic) = self.topic(topic) {
            self.control_mut().graft.push(topic);
        }
        Ok(())
    }

    fn prune(&mut self, field: Field) -> Result<(), DecodeError> {
        let mut fields = self.fields(field.range()?);
        let max = self.decoder.limits.control_entries_max;
        if !self.admit(self.out.rpc.control.prune.len(), max) {
            return Ok(());
        }
        let (mut topic, mut peers, mut backoff) = (None, Vec::new(), None);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => topic = Some(field.range()?),
                2 => self.peer_info(field, &mut peers)?,
                3 => backoff = Some(field.varint()?),
                _ => {}
            }
        }
        if let Some(topic) = self.topic(topic) {
            self.control_mut().prune.push(Prune {
                topic,
                peers,
                backoff,
            });
        }
        Ok(())
    }

    fn peer_info(&mut self, field: Field, peers: &mut Vec<PeerInfo>) -> Result<(), DecodeError> {
        let mut fields = self.fields(field.range()?);
        let max = self.decoder.limits.recommended_peers_max;
        if !self.admit(peers.len(), max) {
            return Ok(());
        }
        let (mut peer, mut signed_record) = (None, None);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => peer = Some(self.slice(field)?),
                2 => signed_record = Some(self.slice(field)?),
                _ => {}
            }
        }
        peers.push(PeerInfo {
            peer,
            signed_record,
        });
        Ok(())
    }

    fn extensions(&mut self, field: Field) -> Result<(), DecodeError> {
        let mut fields = self.fields(field.range()?);
        // Protobuf merges what stands there twice.
        let mut extensions = self.control_mut().extensions.unwrap_or_default();
        while let Some(field) = fields.next_field()? {
            match field.number {
                10 => extensions.partial_messages = field.varint()? != 0,
                6_492_434 => extensions.test = field.varint()? != 0,
                _ => {}
            }
        }
        self.control_mut().extensions = Some(extensions);
        Ok(())
    }

    fn partial(&mut self, field: Field) -> Result<(), DecodeError> {
        let mut fields = self.fields(field.range()?);
        let (mut topic, mut group, mut message, mut metadata) = (None, None, None, None);
        while let Some(field) = fields.next_field()? {
            match field.number {
                1 => topic = Some(field.range()?),
                2 => group = Some(self.slice(field)?),
                3 => message = Some(self.slice(field)?),
                4 => metadata = Some(self.slice(field)?),
                _ => {}
            }
        }
        let before = self.out.rpc.partial.take();
        let known = before.as_ref().filter(|_| topic.is_none());
        let topic = match known.map(|before| before.topic.clone()) {
            Some(known) => Some(known),
            None => self.topic(topic),
        };
        self.out.rpc.partial = match (topic, before) {
            (None, before) => before,
            (Some(topic), None) => Some(Partial {
                topic,
                group: group.unwrap_or_default(),
                message,
                metadata,
            }),
            // Protobuf merges what stands there twice.
            (Some(topic), Some(before)) => Some(Partial {
                topic,
                group: group.unwrap_or(before.group),
                message: message.or(before.message),
                metadata: metadata.or(before.metadata),
            }),
        };
        Ok(())
    }
}

/// Takes the new list over when there was none, which is the usual case.
fn extend(all: &mut Vec<MessageId>, more: Vec<MessageId>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.extend(more);
    }
}

/// Bytes that a message may hold on to beyond twice its own.
const SLACK: usize = 1024;
