//! RPCs -> bytes.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Buf, Bytes};

use super::wire::{field_len, put_bytes, put_header, put_number, put_varint};
use crate::{
    Control, Extensions, IHave, Message, MessageId, Partial, Prune, Rpc, SubscriptionChange, Topic,
};

/// An RPC as one frame, its length included.
///
/// It is not cut up, however long it is; the service itself splits what it sends.
pub fn encode_rpc(rpc: &Rpc) -> Bytes {
    let mut out = WriteBuffer::default();
    let mut encoder = FrameEncoder::new(usize::MAX, usize::MAX);
    for change in &rpc.subscriptions {
        encoder.subscription(change, &mut out);
    }
    for message in &rpc.messages {
        encoder.message(message, &mut out);
    }
    encoder.control(&rpc.control, &mut out);
    if let Some(partial) = &rpc.partial {
        encoder.partial(partial, &mut out);
    }
    if rpc.test_extension {
        encoder.test_extension(&mut out);
    }
    encoder.finish(&mut out);
    out.into_bytes()
}

/// Bytes on their way to a stream. Small pieces share one buffer, large messages are referred to.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    parts: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// How much of the tail is written.
    written: usize,
    len: usize,
}

/// Messages of this size are written from where they are instead of being copied together.
const COPY_MAX: usize = 8 * 1024;

impl WriteBuffer {
    /// Bytes that are left.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next bytes, in one piece.
    pub(crate) fn chunk(&self) -> &[u8] {
        match self.parts.front() {
            Some(part) => part,
            None => &self.tail[self.written..],
        }
    }

    /// So many bytes of the [chunk](Self::chunk) are written.
    pub(crate) fn advance(&mut self, count: usize) {
        self.len -= count;
        if let Some(part) = self.parts.front_mut() {
            part.advance(count);
            if part.is_empty() {
                self.parts.pop_front();
            }
        } else {
            self.written += count;
            if self.written == self.tail.len() {
                self.tail.clear();
                self.written = 0;
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn put(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        put(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    fn put_part(&mut self, part: &Bytes) {
        if part.len() < COPY_MAX {
            return self.put(|tail| tail.extend_from_slice(part));
        }
        if !self.tail.is_empty() {
            let mut tail = Bytes::from(std::mem::take(&mut self.tail));
            tail.advance(std::mem::take(&mut self.written));
            self.parts.push_back(tail);
        }
        self.len += part.len();
        self.parts.push_back(part.clone());
    }

    fn into_bytes(mut self) -> Bytes {
        let mut all = Vec::with_capacity(self.len);
        while !self.is_empty() {
            all.extend_from_slice(self.chunk());
            self.advance(self.chunk().len());
        }
        all.into()
    }
}

/// Gathers what is to be sent into frames of a certain size.
#[derive(Debug)]
pub(crate) struct FrameEncoder {
    /// A frame is finished before it gets longer, unless one single entry is longer.
    frame_len_max: usize,
    /// Likewise, subscriptions in a frame.
    subscriptions_max: usize,
    subscriptions: usize,
    /// Encoded fields that stand before the messages.
    head: Vec<u8>,
    messages: Vec<Arc<Message>>,
    messages_len: usize,
    /// The content of the control message.
    control: Vec<u8>,
    /// Encoded fields that stand behind it.
    rest: Vec<u8>,
    scratch: Vec<u8>,
}

/// Messages in a frame; others accept 5000.
const MESSAGES_MAX: usize = 1000;
/// Bytes of an entry with ids; a longer list becomes several entries.
const ID_LIST_MAX: usize = 8 * 1024;

impl FrameEncoder {
    pub(crate) fn new(frame_len_max: usize, subscriptions_max: usize) -> Self {
        Self {
            frame_len_max,
            subscriptions_max: subscriptions_max.max(1),
            subscriptions: 0,
            head: Vec::new(),
            messages: Vec::new(),
            messages_len: 0,
            control: Vec::new(),
            rest: Vec::new(),
            scratch: Vec::new(),
        }
    }

    pub(crate) fn set_frame_len_max(&mut self, max: usize) {
        self.frame_len_max = max;
    }

    pub(crate) fn subscription(&mut self, change: &SubscriptionChange, out: &mut WriteBuffer) {
        if self.subscriptions >= self.subscriptions_max {
            self.finish(out);
        }
        let mut entry = std::mem::take(&mut self.scratch);
        put_subscription(&mut entry, change);
        self.make_room(field_len(1, entry.len()), out);
        put_bytes(&mut self.head, 1, &entry);
        self.subscriptions += 1;
        self.recycle(entry);
    }

    pub(crate) fn message(&mut self, message: &Arc<Message>, out: &mut WriteBuffer) {
        let len = field_len(2, message.encoded.len());
        if self.messages.len() >= MESSAGES_MAX {
            self.finish(out);
        }
        self.make_room(len, out);
        self.messages_len += len;
        self.messages.push(message.clone());
    }

    pub(crate) fn control(&mut self, control: &Control, out: &mut WriteBuffer) {
        for IHave { topic, ids } in &control.ihave {
            self.ids(1, Some(topic), ids, out);
        }
        self.ids(2, None, &control.iwant, out);
        for topic in &control.graft {
            self.control_entry(3, out, |entry| put_bytes(entry, 1, name(topic)));
        }
        for prune in &control.prune {
            self.control_entry(4, out, |entry| put_prune(entry, prune));
        }
        self.ids(5, None, &control.idontwant, out);
        if let Some(extensions) = control.extensions {
            self.extensions(extensions, out);
        }
    }

    pub(crate) fn extensions(&mut self, extensions: Extensions, out: &mut WriteBuffer) {
        self.control_entry(6, out, |entry| {
            if extensions.partial_messages {
                put_number(entry, 10, 1);
            }
            if extensions.test {
                put_number(entry, 6_492_434, 1);
            }
        });
    }

    pub(crate) fn partial(&mut self, partial: &Partial, out: &mut WriteBuffer) {
        let mut entry = std::mem::take(&mut self.scratch);
        put_bytes(&mut entry, 1, name(&partial.topic));
        put_bytes(&mut entry, 2, &partial.group);
        if let Some(message) = &partial.message {
            put_bytes(&mut entry, 3, message);
        }
        if let Some(metadata) = &partial.metadata {
            put_bytes(&mut entry, 4, metadata);
        }
        // There is room for one in a frame.
        if !self.rest.is_empty() {
            self.finish(out);
        }
        self.make_room(field_len(10, entry.len()), out);
        put_bytes(&mut self.rest, 10, &entry);
        self.recycle(entry);
    }

    pub(crate) fn test_extension(&mut self, out: &mut WriteBuffer) {
        self.make_room(field_len(6_492_434, 0), out);
        put_header(&mut self.rest, 6_492_434, 0);
    }

    /// Whether nothing waits to be finished.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the frame so far.
    pub(crate) fn len(&self) -> usize {
        let control = match self.control.len() {
            0 => 0,
            len => field_len(3, len),
        };
        self.head.len() + self.messages_len + control + self.rest.len()
    }

    /// Ends the frame.
    pub(crate) fn finish(&mut self, out: &mut WriteBuffer) {
        let len = self.len();
        if len == 0 {
            return;
        }
        out.put(|tail| {
            put_varint(tail, len as u64);
            tail.append(&mut self.head);
        });
        for message in self.messages.drain(..) {
            out.put(|tail| put_header(tail, 2, message.encoded.len()));
            out.put_part(&message.encoded);
        }
        out.put(|tail| {
            if !self.control.is_empty() {
                put_bytes(tail, 3, &self.control);
            }
            tail.append(&mut self.rest);
        });
        self.control.clear();
        self.messages_len = 0;
        self.subscriptions = 0;
    }

    fn make_room(&mut self, len: usize, out: &mut WriteBuffer) {
        if self.len().saturating_add(len) > self.frame_len_max {
            self.finish(out);
        }
    }

    fn control_entry(
        &mut self,
        number: u32,
        out: &mut WriteBuffer,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut entry = std::mem::take(&mut self.scratch);
        put(&mut entry);
        self.make_room(field_len(number, entry.len()) + CONTROL_HEADER_MAX, out);
        put_bytes(&mut self.control, number, &entry);
        self.recycle(entry);
    }

    /// A list of ids, in as many entries as it takes.
    fn ids(
        &mut self,
        number: u32,
        topic: Option<&Topic>,
        ids: &[MessageId],
        out: &mut WriteBuffer,
    ) {
        let id_field = if topic.is_some() { 2 } else { 1 };
        let mut ids = ids.iter().peekable();
        while ids.peek().is_some() {
            self.control_entry(number, out, |entry| {
                if let Some(topic) = topic {
                    put_bytes(entry, 1, name(topic));
                }
                for id in ids.by_ref() {
                    put_bytes(entry, id_field, id.as_bytes());
                    if entry.len() >= ID_LIST_MAX {
                        break;
                    }
                }
            });
        }
    }

    fn recycle(&mut self, mut entry: Vec<u8>) {
        entry.clear();
        self.scratch = entry;
    }
}

/// Tag and length of the control message.
const CONTROL_HEADER_MAX: usize = 6;

fn name(topic: &Topic) -> &[u8] {
    topic.as_str().as_bytes()
}

fn put_subscription(entry: &mut Vec<u8>, change: &SubscriptionChange) {
    put_number(entry, 1, change.subscribe.into());
    put_bytes(entry, 2, name(&change.topic));
    if change.requests_partial {
        put_number(entry, 3, 1);
    }
    if change.supports_sending_partial {
        put_number(entry, 4, 1);
    }
}

fn put_prune(entry: &mut Vec<u8>, prune: &Prune) {
    put_bytes(entry, 1, name(&prune.topic));
    for info in &prune.peers {
        let fields = [(1, &info.peer), (2, &info.signed_record)];
        let present = fields
            .iter()
            .filter_map(|(number, value)| Some((*number, value.as_ref()?)));
        let len = present
            .clone()
            .map(|(number, value)| field_len(number, value.len()));
        put_header(entry, 2, len.sum());
        present.for_each(|(number, value)| put_bytes(entry, number, value));
    }
    if let Some(backoff) = prune.backoff {
        put_number(entry, 3, backoff);
    }
}
