//! The side that proposes.

use std::task::Poll;

use bytes::{Bytes, BytesMut};
use peerkit_core::{NegotiationError, Preamble, ProtocolId};

use crate::codec::{HEADER, MAX_LINE, NA, check_header, put_line, take_line};

/// Proposes protocols, best first, until the remote accepts one.
///
/// ```text
/// Header --header--> Answer --same name--> Done(Ok)
///                    |    ^
///                    +-na-+ next proposal; none left: Done(Unsupported)
/// ```
///
/// As a [`Preamble`] it waits for the answer to its *first* proposal only,
/// since whoever owns a preamble does not send for it. Take the proposal with
/// [`poll_transmit`](Self::poll_transmit) before you give the dialer away.
/// Optimism is for one proposal, and for protocols that can bear that
/// their first bytes are lost: a remote that refuses reads them as further proposals.
#[derive(Debug)]
pub struct Dialer {
    protocols: Vec<ProtocolId>,
    /// Which of them was proposed last.
    proposed: usize,
    state: State,
    output: BytesMut,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Header,
    Answer,
    Done,
}

impl Dialer {
    /// Proposes `protocols` in this order.
    ///
    /// Without any protocol the first [`handle_read`](Self::handle_read) fails.
    pub fn new(protocols: Vec<ProtocolId>) -> Self {
        let mut output = BytesMut::new();
        if let Some(first) = protocols.first() {
            put_line(&mut output, HEADER);
            put_line(&mut output, first.as_str());
        }
        Self {
            protocols,
            proposed: 0,
            state: State::Header,
            output,
        }
    }

    /// The bytes to send next: at first the header together with the first proposal,
    /// after each refusal one more proposal.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| self.output.split().freeze())
    }

    /// Takes the remote's answer from the front of `input`; what follows it stays there.
    ///
    /// `Pending` asks for more bytes, after [`poll_transmit`](Self::poll_transmit) was
    /// drained. The accepted protocol is one of those that were proposed.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](NegotiationError::Unsupported) once every proposal was refused,
    /// [`Malformed`](NegotiationError::Malformed) when the remote does not speak
    /// multistream-select or accepts what was not proposed, [`Limit`](NegotiationError::Limit)
    /// when a line is longer than [`MAX_LINE`].
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
            match self.step(input) {
                Poll::Ready(Ok(Answer::Refused)) if self.propose_next() => {}
                Poll::Ready(Ok(Answer::Refused)) => break Err(self.unsupported()),
                Poll::Ready(Ok(Answer::Accepted)) => {
                    break Ok(self.protocols[self.proposed].clone());
                }
                Poll::Ready(Err(error)) => break Err(error),
                Poll::Pending => return Poll::Pending,
            }
        };
        self.state = State::Done;
        Poll::Ready(outcome)
    }

    /// The remote's answer to the latest proposal.
    fn step(&mut self, input: &mut BytesMut) -> Poll<Result<Answer, NegotiationError>> {
        if self.protocols.is_empty() {
            return Poll::Ready(Ok(Answer::Refused));
        }
        loop {
            if self.state == State::Header {
                check_header(input)?;
            }
            let Poll::Ready(line) = take_line(input, MAX_LINE)? else {
                return Poll::Pending;
            };
            match self.state {
                State::Header => self.state = State::Answer,
                State::Answer | State::Done => return Poll::Ready(self.judge(&line)),
            }
        }
    }

    fn judge(&self, line: &str) -> Result<Answer, NegotiationError> {
        if line == self.protocols[self.proposed].as_str() {
            Ok(Answer::Accepted)
        } else if line == NA {
            Ok(Answer::Refused)
        } else {
            Err(NegotiationError::Malformed(
                "the answer is neither the proposal nor a refusal",
            ))
        }
    }

    fn propose_next(&mut self) -> bool {
        let Some(next) = self.protocols.get(self.proposed + 1) else {
            return false;
        };
        put_line(&mut self.output, next.as_str());
        self.proposed += 1;
        true
    }

    /// Names what was proposed so far.
    fn unsupported(&mut self) -> NegotiationError {
        let mut proposed = std::mem::take(&mut self.protocols);
        proposed.truncate(self.proposed + 1);
        NegotiationError::Unsupported { proposed }
    }
}

impl Preamble for Dialer {
    fn handle_read(&mut self, input: &mut BytesMut) -> Poll<Result<(), NegotiationError>> {
        self.step(input).map(|answer| match answer? {
            Answer::Accepted => Ok(()),
            Answer::Refused => Err(self.unsupported()),
        })
    }
}

enum Answer {
    Accepted,
    Refused,
}
