//! A portion of what waits, on its way into frames.

use super::lane::Entry;
use crate::{
    Outgoing, SubscriptionChange,
    codec::{FrameEncoder, WriteBuffer},
};

/// How much is taken out of the queue at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    /// Frames for one write.
    Frames {
        /// Bytes after which no more is taken.
        bytes: usize,
    },
    /// One frame, of a length that everybody accepts.
    OneFrame {
        /// Its length, unless one single message is longer.
        len_max: usize,
    },
}

/// Something that was put into a frame and may have to be sent again.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Subscription(SubscriptionChange),
    Own(Entry),
    Forwarded(Entry),
}

impl Sent {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Subscription(change) => change.topic.as_str().len() + 8,
            Self::Own(entry) | Self::Forwarded(entry) => entry.message.encoded.len(),
        }
    }
}

/// Where the next portion goes.
pub(crate) struct Filling<'a> {
    pub(crate) portion: Portion,
    pub(crate) encoder: &'a mut FrameEncoder,
    pub(crate) out: &'a mut WriteBuffer,
    /// What has waited too long.
    pub(crate) lost: &'a mut Vec<Outgoing>,
    /// What was taken, if that is to be known.
    pub(crate) log: Option<&'a mut Vec<Sent>>,
    /// What was taken is to leave ahead of the messages that wait: a refusal that arrives together with a large
    /// message comes too late.
    pub(crate) ahead: bool,
}

impl Filling<'_> {
    pub(super) fn has_room(&self, len: usize) -> bool {
        match self.portion {
            Portion::Frames { bytes } => self.out.len() + self.encoder.len() < bytes,
            Portion::OneFrame { len_max } => {
                self.encoder.is_empty() || self.encoder.len() + len + FIELD_HEADER_MAX <= len_max
            }
        }
    }

    pub(super) fn log(&mut self, sent: impl FnOnce() -> Sent) {
        if let Some(log) = &mut self.log {
            log.push(sent());
        }
    }
}

/// Tag and length of a field.
const FIELD_HEADER_MAX: usize = 8;
