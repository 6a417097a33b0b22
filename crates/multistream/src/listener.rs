//! The side that answers.

use std::{sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use peerkit_core::{NegotiationError, ProtocolId};

use crate::codec::{HEADER, LS, MAX_LINE, NA, check_header, put_line, put_listing, take_line};

/// How many proposals a dialer may make; stops floods of unknown names. Requests for a listing count.
pub const MAX_PROPOSALS: usize = 64;

/// How many bytes a negotiation may take from a dialer in all; stops floods of long names.
pub const MAX_TOTAL: usize = 64 * 1024;

/// Accepts the first proposal that is supported.
///
/// ```text
/// Header --header--> Proposals --supported name--> Done(Ok)
///                    |       ^
///                    +-------+ other name: na; first ls: listing; too many: Done(Limit)
/// ```
///
/// The header is answered as soon as it was read, so that a dialer which waits for
/// it gets it; header and answer leave together when the proposal came along with the header.
#[derive(Debug)]
pub struct Listener {
    supported: Arc<[ProtocolId]>,
    state: State,
    proposals: usize,
    consumed: usize,
    listed: bool,
    output: BytesMut,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Header,
    Proposals,
    Done,
}

impl Listener {
    /// Accepts one of `supported`; their order does not matter, the dialer's does.
    pub fn new(supported: Arc<[ProtocolId]>) -> Self {
        Self {
            supported,
            state: State::Header,
            proposals: 0,
            consumed: 0,
            listed: false,
            output: BytesMut::new(),
        }
    }

    /// The bytes to send next, also after [`handle_read`](Self::handle_read) was `Ready`.
    /// At most about 17 KiB, whatever the dialer sends.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| self.output.split().freeze())
    }

    /// Takes proposals from the front of `input`. What follows the accepted one
    /// stays there: the first bytes of the protocol, from a dialer that did not wait.
    ///
    /// `Pending` asks for more bytes, after [`poll_transmit`](Self::poll_transmit) was drained.
    ///
    /// # Errors
    ///
    /// [`Malformed`](NegotiationError::Malformed) when the dialer does not speak
    /// multistream-select, [`Limit`](NegotiationError::Limit) when it goes over
    /// [`MAX_LINE`], [`MAX_PROPOSALS`] or [`MAX_TOTAL`].
    ///
    /// # Panics
    ///
    /// If called again after `Ready`.
    pub fn handle_read(
        &mut self,
        input: &mut BytesMut,
    ) -> Poll<Result<ProtocolId, NegotiationError>> {
        assert_ne!(self.state, State::Done, "the negotiation is over");
        let outcome = loop {
            match self.next_line(input) {
                Poll::Ready(Ok(line)) => match self.handle_line(&line) {
                    Ok(Some(protocol)) => break Ok(protocol),
                    Ok(None) => {}
                    Err(error) => break Err(error),
                },
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        self.state = State::Done;
        Poll::Ready(outcome)
    }

    fn next_line(&mut self, input: &mut BytesMut) -> Poll<Result<String, NegotiationError>> {
        if self.state == State::Header {
            check_header(input)?;
        }
        let before = input.len();
        let line = take_line(input, MAX_LINE);
        self.consumed += before - input.len();
        if self.consumed > MAX_TOTAL {
            return Poll::Ready(Err(NegotiationError::Limit("too many bytes")));
        }
        line
    }

    /// The accepted protocol, if the line proposes one.
    fn handle_line(&mut self, line: &str) -> Result<Option<ProtocolId>, NegotiationError> {
        if self.state == State::Header {
            self.state = State::Proposals;
            put_line(&mut self.output, HEADER);
            return Ok(None);
        }
        self.proposals += 1;
        if self.proposals > MAX_PROPOSALS {
            return Err(NegotiationError::Limit("too many proposals"));
        }
        let accepted = self.supported.iter().find(|id| id.as_str() == line);
        match accepted.cloned() {
            Some(protocol) => {
                put_line(&mut self.output, line);
                return Ok(Some(protocol));
            }
            // One listing is a question, more are a way to make this side send a lot.
            None if line == LS && !self.listed => self.list(),
            None => put_line(&mut self.output, NA),
        }
        Ok(None)
    }

    fn list(&mut self) {
        self.listed = true;
        put_listing(&mut self.output, &self.supported);
    }
}
