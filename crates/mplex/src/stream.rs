//! One stream.

use std::time::Instant;

use peerkit_core::StreamError;

use crate::{codec::WireId, unread::Unread};

/// ```text
///            both Open
///  remote: close |  | local: finish
///     inbound    |  |   outbound          any of these --reset by either side--> failure
///     Finished   v  v   Finished
///           both Finished: unknown on the wire from now on
/// ```
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) wire: WireId,
    pub(crate) inbound: Side,
    pub(crate) outbound: Side,
    /// Set once; the stream is then unknown on the wire and has no unread bytes.
    pub(crate) failure: Option<StreamError>,
    pub(crate) unread: Unread,
    /// Whether somebody has found nothing to read.
    pub(crate) reader_waits: bool,
}

/// One direction of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Open,
    Finished,
}

impl Stream {
    pub(crate) fn new(wire: WireId, now: Instant) -> Self {
        Self {
            wire,
            inbound: Side::Open,
            outbound: Side::Open,
            failure: None,
            unread: Unread::new(now),
            reader_waits: false,
        }
    }

    /// Whether both sides have said all that they had to say.
    pub(crate) fn is_finished(&self) -> bool {
        self.inbound == Side::Finished && self.outbound == Side::Finished
    }
}
