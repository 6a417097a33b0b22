//! One stream.

use std::time::Instant;

use peerkit_core::StreamError;

use crate::{
    codec::WireId,
    unread::{Intake, Unread},
};

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
    /// Set once; the stream is then unknown on the wire. What was received in full can still be read.
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

    /// Whether the unread bytes outlive a failure: a remote that lets go of a stream may reset it
    /// although it had said all that it had to say.
    pub(crate) fn keeps_unread(&self, failure: &StreamError) -> bool {
        self.inbound == Side::Finished && matches!(failure, StreamError::ResetByRemote(_))
    }

    /// Why nothing can be read, if nothing can.
    pub(crate) fn read_failure(&self) -> Option<&StreamError> {
        let failure = self.failure.as_ref()?;
        (!self.keeps_unread(failure)).then_some(failure)
    }

    /// Gives the unread bytes up; the end that may stand behind them goes with them.
    pub(crate) fn lose_unread(&mut self, intake: &mut Intake) {
        intake.discard(&mut self.unread);
        self.inbound = Side::Open;
    }

    /// Whether both sides have said all that they had to say.
    pub(crate) fn is_finished(&self) -> bool {
        self.inbound == Side::Finished && self.outbound == Side::Finished
    }
}
