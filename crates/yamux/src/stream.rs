//! The state of one stream.
//!
//! Each direction is a half of its own:
//!
//! ```text
//!   sending                                  receiving
//!           finish()                                 FIN
//!   Open ------------> Finished              Open ------------> Finished
//!     |                                        |                   |
//!     | reset(), RST, the end                  | reset(), RST      | reset()
//!     v                                        v                   |
//!   Failed(why)                              Failed(why) <---------+
//! ```
//!
//! A reset of the remote does not touch what it has finished before: an answer that was
//! received completely can be read, also when the remote has dropped the stream since.

use std::time::Instant;

use peerkit_core::{ConnectionError, Direction, ResetCode, StreamError};

use crate::{buffer::Buffer, config::INITIAL_WINDOW, frame::Flags, outbound::Turn, window::Window};

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) direction: Direction,
    pub(crate) owner: Owner,
    pub(crate) greeting: Greeting,
    /// Opened by this side and not acknowledged yet.
    pub(crate) unacknowledged: bool,

    pub(crate) sending: Half,
    /// What the remote lets this side send.
    credit: u32,
    pub(crate) turn: Turn,
    pub(crate) writer: Writer,

    pub(crate) receiving: Half,
    pub(crate) window: Window,
    pub(crate) received: Buffer,
    /// A reader waits for an event.
    pub(crate) reader_waits: bool,

    /// In the queue for announcements and window updates.
    pub(crate) control_requested: bool,
}

/// Who has the application's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It waits to be accepted.
    Nobody,
    Application,
    /// The application has finished it and let go; the remote has yet to finish.
    Gone {
        since: Instant,
    },
}

/// What the remote has yet to be told about a stream, with the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// That it exists.
    Announce,
    /// That it was accepted.
    Acknowledge,
    Done,
}

#[derive(Clone, Debug)]
pub(crate) enum Half {
    Open,
    Finished,
    Failed(StreamError),
}

/// What a writer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    Idle,
    /// Room in the transmit buffer.
    Room,
    /// So much credit from the remote.
    Credit(u32),
}

/// The remote has granted more than a window can be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CreditOverflow;

impl Stream {
    pub(crate) fn outbound(now: Instant) -> Self {
        Self::new(
            Direction::Outbound,
            Owner::Application,
            Greeting::Announce,
            now,
        )
    }

    pub(crate) fn inbound(now: Instant) -> Self {
        Self::new(
            Direction::Inbound,
            Owner::Nobody,
            Greeting::Acknowledge,
            now,
        )
    }

    fn new(direction: Direction, owner: Owner, greeting: Greeting, now: Instant) -> Self {
        Self {
            direction,
            owner,
            greeting,
            unacknowledged: direction == Direction::Outbound,
            sending: Half::Open,
            credit: INITIAL_WINDOW,
            turn: Turn::default(),
            writer: Writer::Idle,
            receiving: Half::Open,
            window: Window::new(now),
            received: Buffer::default(),
            reader_waits: false,
            control_requested: false,
        }
    }

    /// Whether the remote knows of the stream.
    pub(crate) fn is_announced(&self) -> bool {
        self.greeting != Greeting::Announce
    }

    /// Whether the remote still waits for something on this stream, so that a reset tells it news.
    pub(crate) fn is_live(&self) -> bool {
        self.is_announced() && (self.sending.is_open() || self.receiving.is_open())
    }

    /// Whether the application reads and the remote may send.
    pub(crate) fn wants_more(&self) -> bool {
        self.owner == Owner::Application && self.receiving.is_open()
    }

    /// The flags that the next frame has to carry.
    pub(crate) fn greet(&mut self) -> Flags {
        match std::mem::replace(&mut self.greeting, Greeting::Done) {
            Greeting::Announce => Flags::SYN,
            Greeting::Acknowledge => Flags::ACK,
            Greeting::Done => Flags::NONE,
        }
    }

    /// The remote grants more.
    pub(crate) fn add_credit(&mut self, delta: u32) -> Result<(), CreditOverflow> {
        self.credit = self.credit.checked_add(delta).ok_or(CreditOverflow)?;
        Ok(())
    }

    /// How much of `length` bytes the remote lets through; nothing while that would be
    /// a silly small frame.
    pub(crate) fn sendable(&self, length: usize) -> usize {
        let credit = self.credit as usize;
        if credit < length.min(FRAME_WORTH) {
            0
        } else {
            credit.min(length)
        }
    }

    /// Waits until [`sendable`](Self::sendable) is more than nothing.
    pub(crate) fn wait_for_credit(&mut self, length: usize) {
        let wanted = length.min(FRAME_WORTH);
        self.writer = Writer::Credit(u32::try_from(wanted).expect("a small constant"));
    }

    pub(crate) fn sent(&mut self, length: usize) {
        let length = u32::try_from(length).expect("no more is sent than there is credit");
        self.credit -= length;
    }

    /// Whether a writer who waits for credit has enough now; it no longer waits then.
    pub(crate) fn credit_suffices(&mut self) -> bool {
        let suffices = matches!(self.writer, Writer::Credit(wanted) if self.credit >= wanted);
        if suffices {
            self.writer = Writer::Idle;
        }
        suffices
    }

    /// The remote has reset the stream.
    pub(crate) fn fail_by_remote(&mut self, code: ResetCode) {
        self.fail(&StreamError::ResetByRemote(code));
    }

    /// This side has reset the stream.
    pub(crate) fn fail_by_local(&mut self) {
        self.fail(&StreamError::Reset);
        if matches!(self.receiving, Half::Finished) {
            self.receiving = Half::Failed(StreamError::Reset);
        }
    }

    /// The stream can't come into being, since the connection takes no new streams.
    pub(crate) fn fail_unannounced(&mut self, error: ConnectionError) {
        self.fail(&StreamError::Connection(error));
    }

    /// Fails what is open. Nothing more is to be said on this stream.
    fn fail(&mut self, error: &StreamError) {
        self.sending.fail(error);
        self.receiving.fail(error);
        self.greeting = Greeting::Done;
    }
}

impl Half {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    fn fail(&mut self, error: &StreamError) {
        if self.is_open() {
            *self = Self::Failed(error.clone());
        }
    }
}

/// A frame with less is not worth its header, unless there is no more to send.
/// Stops remotes that grant one byte at a time.
const FRAME_WORTH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn a_reset_of_the_remote_leaves_what_it_finished() {
        let mut stream = Stream::inbound(start());
        stream.receiving = Half::Finished;
        stream.fail_by_remote(ResetCode(5));
        assert!(matches!(stream.receiving, Half::Finished));
        assert!(matches!(
            stream.sending,
            Half::Failed(StreamError::ResetByRemote(ResetCode(5)))
        ));
    }

    #[test]
    fn the_greeting_is_sent_once() {
        let mut stream = Stream::outbound(start());
        assert!(!stream.is_announced());
        assert_eq!(stream.greet(), Flags::SYN);
        assert_eq!(stream.greet(), Flags::NONE);
        assert_eq!(Stream::inbound(start()).greet(), Flags::ACK);
    }

    #[test]
    fn small_credit_is_saved_up_unless_it_suffices() {
        let mut stream = Stream::outbound(start());
        stream.sent(INITIAL_WINDOW as usize - 100);
        assert_eq!(stream.sendable(50), 50);
        assert_eq!(stream.sendable(101), 0);
        assert_eq!(stream.sendable(5000), 0);
        stream.wait_for_credit(5000);
        stream.add_credit(900).unwrap();
        assert!(!stream.credit_suffices());
        stream.add_credit(24).unwrap();
        assert!(stream.credit_suffices());
        assert!(!stream.credit_suffices());
        assert_eq!(stream.sendable(5000), 1024);
    }

    #[test]
    fn credit_never_overflows() {
        let mut stream = Stream::outbound(start());
        stream.add_credit(u32::MAX - INITIAL_WINDOW).unwrap();
        assert_eq!(stream.add_credit(1), Err(CreditOverflow));
    }
}
