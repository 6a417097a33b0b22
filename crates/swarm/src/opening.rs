//! The beginning of a stream: the optimistic proposal and the answer to it.
//!
//! ```text
//!            first write: proposal + data        answer read
//! Proposing ------------------------------> Waiting -----------> settled
//!                                             | the remote refuses the connection's
//!                                             | optimistic muxer: dial again, replay
//!                                             v
//!                                          Waiting on a second stream
//! ```
//!
//! A reader and a writer may be here at the same time, while the muxer remembers
//! one waker for each direction. Each may work for the other (a reader that
//! sends the proposal, a writer that closes and waits for the answer), and may give up
//! at any time. So everybody leaves a waker here, and what the muxer gets wakes them all.

mod retry;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{FutureExt, task::AtomicWaker};
use peerkit_core::{
    MuxedStream, NegotiationError, ProtocolId, ResetCode, Runtime, StreamError, Timer,
};
use peerkit_multistream::Dialer;

use self::retry::{REPLAY_MAX, Retry, is_refusal, refusal, reset_code};
use crate::{connections::Entry, inner::Inner};

/// What is left to do at the beginning of a stream.
pub(crate) struct Opening {
    /// The proposal, as far as it was not sent.
    unsent: Bytes,
    /// Waits for the answer to the proposal.
    answer: Option<Answer>,
    /// What was read behind the negotiation.
    input: BytesMut,
    /// How to begin again while the connection is not confirmed.
    retry: Option<Retry>,
    replacement: Option<Arc<dyn MuxedStream>>,
    failed: Option<StreamError>,
    waiting: Arc<Waiting>,
    /// A step was done for which others may be waiting.
    progress: bool,
}

/// Those who wait for the beginning to be over.
#[derive(Default)]
pub(crate) struct Waiting {
    reader: AtomicWaker,
    writer: AtomicWaker,
    confirmer: AtomicWaker,
}

struct Answer {
    dialer: Dialer,
    protocol: ProtocolId,
    runtime: Arc<dyn Runtime>,
    limit: Duration,
    timer: Option<Pin<Box<dyn Timer>>>,
}

impl Waiting {
    pub(crate) fn wake_all(&self) {
        self.reader.wake();
        self.writer.wake();
        self.confirmer.wake();
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

impl Opening {
    /// The protocol is agreed on; `rest` was read behind the negotiation.
    pub(crate) fn agreed(rest: BytesMut) -> Self {
        Self {
            unsent: Bytes::new(),
            answer: None,
            input: rest,
            retry: None,
            replacement: None,
            failed: None,
            waiting: Arc::default(),
            progress: false,
        }
    }

    /// Proposes one protocol together with the first bytes.
    pub(crate) fn optimistic(inner: &Arc<Inner>, entry: &Arc<Entry>, protocol: ProtocolId) -> Self {
        let mut dialer = Dialer::new(vec![protocol.clone()]);
        let proposal = dialer.poll_transmit().unwrap_or_default();
        let retry = (!entry.connection.is_confirmed()).then(|| Retry {
            inner: inner.clone(),
            entry: entry.clone(),
            proposal: proposal.clone(),
            written: BytesMut::new(),
            confirmed: None,
            reopening: None,
        });
        Self {
            unsent: proposal,
            answer: Some(Answer {
                dialer,
                protocol,
                runtime: inner.runtime.clone(),
                limit: inner.config.negotiation_timeout,
                timer: None,
            }),
            retry,
            ..Self::agreed(BytesMut::new())
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.unsent.is_empty()
            && self.answer.is_none()
            && self.input.is_empty()
            && self.retry.is_none()
            && self.replacement.is_none()
            && self.failed.is_none()
    }

    /// The stream to use from now on, if the remote had to be dialed again.
    pub(crate) fn take_replacement(&mut self) -> Option<Arc<dyn MuxedStream>> {
        self.replacement.take()
    }

    /// Those to wake, when a step was done.
    pub(crate) fn take_progress(&mut self) -> Option<Arc<Waiting>> {
        std::mem::take(&mut self.progress).then(|| self.waiting.clone())
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.waiting.reader.register(cx.waker());
        let everybody = Waker::from(self.waiting.clone());
        let cx = &mut Context::from_waker(&everybody);
        ready!(self.poll_agreed(cx, io))?;
        if self.input.is_empty() {
            return io.poll_read(cx, buffer);
        }
        let count = buffer.len().min(self.input.len());
        self.input.copy_to_slice(&mut buffer[..count]);
        Poll::Ready(Ok(count))
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.waiting.writer.register(cx.waker());
        let everybody = Waker::from(self.waiting.clone());
        let cx = &mut Context::from_waker(&everybody);
        ready!(self.poll_room(cx))?;
        let outcome = if self.unsent.is_empty() {
            io.poll_write(cx, data)
        } else {
            self.poll_write_proposal(cx, io, data)
        };
        if outcome.is_pending() && self.answer.is_some() {
            // A remote that refuses takes no more bytes, and maybe nobody else reads its answer.
            ready!(self.poll_agreed(cx, io))?;
        }
        let count = ready!(self.poll_or_retry(cx, io, outcome))?;
        if let Some(retry) = &mut self.retry {
            retry.written.extend_from_slice(&data[..count]);
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
    ) -> Poll<io::Result<()>> {
        self.waiting.writer.register(cx.waker());
        let everybody = Waker::from(self.waiting.clone());
        let cx = &mut Context::from_waker(&everybody);
        ready!(self.poll_propose(cx, io))?;
        io.poll_flush(cx)
    }

    /// Waits for the answer, then closes the write side. So a one-way stream learns whether
    /// anybody understood it; and implementations that lose the end of a stream when it
    /// overtakes their handler (js-libp2p 3 does) see it in time.
    pub(crate) fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
    ) -> Poll<io::Result<()>> {
        self.waiting.writer.register(cx.waker());
        let everybody = Waker::from(self.waiting.clone());
        let cx = &mut Context::from_waker(&everybody);
        ready!(self.poll_agreed(cx, io))?;
        io.poll_close(cx)
    }

    /// Sends the proposal if need be and waits for the answer.
    pub(crate) fn poll_confirmed(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
    ) -> Poll<io::Result<()>> {
        self.waiting.confirmer.register(cx.waker());
        let everybody = Waker::from(self.waiting.clone());
        self.poll_agreed(&mut Context::from_waker(&everybody), io)
    }

    fn poll_agreed(&mut self, cx: &mut Context<'_>, io: &dyn MuxedStream) -> Poll<io::Result<()>> {
        ready!(self.poll_propose(cx, io))?;
        while self.answer.is_some() && self.replacement.is_none() {
            if self.is_retrying() {
                ready!(self.poll_retry(cx))?;
                continue;
            }
            let outcome = self.poll_answer(cx, io);
            ready!(self.poll_or_retry(cx, io, outcome))?;
        }
        if self.replacement.is_some() {
            // The caller moves over to it and calls again.
            return Poll::Pending;
        }
        Poll::Ready(self.check())
    }

    fn check(&self) -> io::Result<()> {
        self.failed
            .clone()
            .map_or(Ok(()), |error| Err(error.into()))
    }

    fn poll_propose(&mut self, cx: &mut Context<'_>, io: &dyn MuxedStream) -> Poll<io::Result<()>> {
        self.check()?;
        while !self.unsent.is_empty() {
            let outcome = self.poll_write_proposal(cx, io, &[]);
            ready!(self.poll_or_retry(cx, io, outcome))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the proposal and data behind it; tells how much of the data went along.
    fn poll_write_proposal(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        while !self.unsent.is_empty() {
            let together = data.len().min(TOGETHER_MAX);
            let mut bytes = BytesMut::with_capacity(self.unsent.len() + together);
            bytes.extend_from_slice(&self.unsent);
            bytes.extend_from_slice(&data[..together]);
            let written = ready!(io.poll_write(cx, &bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_proposal = written.min(self.unsent.len());
            self.unsent.advance(of_proposal);
            self.progress |= self.unsent.is_empty();
            if written > of_proposal {
                return Poll::Ready(Ok(written - of_proposal));
            }
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        io.poll_write(cx, data)
    }

    /// Reads until the answer is complete.
    fn poll_answer(&mut self, cx: &mut Context<'_>, io: &dyn MuxedStream) -> Poll<io::Result<()>> {
        while let Some(answer) = &mut self.answer {
            if let Poll::Ready(outcome) = answer.dialer.handle_read(&mut self.input) {
                let protocol = answer.protocol.clone();
                return Poll::Ready(self.settle(outcome, protocol, io));
            }
            let mut buffer = [0; 512];
            match io.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(read)) => self.input.extend_from_slice(&buffer[..read]),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(answer.poll_deadline(cx));
                    let error =
                        StreamError::Limit("the remote did not answer the proposal in time");
                    io.reset(ResetCode::NEGOTIATION_FAILED);
                    return Poll::Ready(self.fail(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn settle(
        &mut self,
        outcome: Result<ProtocolId, NegotiationError>,
        protocol: ProtocolId,
        io: &dyn MuxedStream,
    ) -> io::Result<()> {
        self.answer = None;
        self.retry = None;
        self.progress = true;
        let error = match outcome {
            Ok(_) => return Ok(()),
            Err(NegotiationError::Unsupported { .. }) => StreamError::Unsupported(protocol),
            Err(NegotiationError::Malformed(what) | NegotiationError::Limit(what)) => {
                StreamError::Malformed(what)
            }
            Err(_) => StreamError::Malformed("the negotiation failed"),
        };
        io.reset(ResetCode::NEGOTIATION_FAILED);
        self.fail(error)
    }

    fn fail(&mut self, error: StreamError) -> io::Result<()> {
        self.answer = None;
        self.retry = None;
        self.unsent = Bytes::new();
        self.progress = true;
        self.failed = Some(error);
        self.check()
    }

    /// While the connection is not confirmed, only so much is written as can be kept for a replay.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let Some(retry) = &mut self.retry else {
            return Poll::Ready(Ok(()));
        };
        if retry.written.len() < REPLAY_MAX && retry.reopening.is_none() {
            return Poll::Ready(Ok(()));
        }
        if retry.reopening.is_none() {
            match ready!(retry.poll_confirmed(cx)) {
                Ok(()) => {
                    self.retry = None;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if is_refusal(&error) => retry.reopen(error),
                Err(error) => return Poll::Ready(Err(StreamError::from(error).into())),
            }
        }
        ready!(self.poll_retry(cx))?;
        Poll::Pending
    }

    fn is_retrying(&self) -> bool {
        self.retry
            .as_ref()
            .is_some_and(|retry| retry.reopening.is_some())
    }

    /// Turns the refusal of the connection's muxer into a second beginning, and waits for that.
    /// Then there is a replacement, with which the caller tries again.
    fn poll_or_retry<T>(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = &outcome else {
            return outcome;
        };
        if let Some(reset) = reset_code(error) {
            self.learn_from_reset(cx, io, reset)?;
        }
        let (Some(retry), Some(refusal)) = (self.retry.as_mut(), refusal(error)) else {
            return outcome;
        };
        retry.reopen(refusal);
        ready!(self.poll_retry(cx))?;
        Poll::Pending
    }

    /// A remote that says no, and then takes the data that came along for another proposal,
    /// resets the stream; that may be noticed before its answer is read.
    fn learn_from_reset(
        &mut self,
        cx: &mut Context<'_>,
        io: &dyn MuxedStream,
        code: ResetCode,
    ) -> io::Result<()> {
        match &self.answer {
            None => Ok(()),
            Some(answer) if code == ResetCode::NEGOTIATION_FAILED => {
                let unsupported = StreamError::Unsupported(answer.protocol.clone());
                self.fail(unsupported)
            }
            Some(_) => match self.poll_answer(cx, io) {
                Poll::Ready(Err(_)) => self.check(),
                Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
            },
        }
    }

    /// Waits for the second beginning; then there is a replacement.
    fn poll_retry(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(reopening) = self
            .retry
            .as_mut()
            .and_then(|retry| retry.reopening.as_mut())
        else {
            return Poll::Ready(Ok(()));
        };
        match ready!(reopening.poll_unpin(cx)) {
            Ok(second) => {
                self.retry = None;
                self.unsent = Bytes::new();
                self.progress = true;
                self.replacement = Some(second);
                if let Some(answer) = &mut self.answer {
                    // Its time began with the first connection.
                    answer.timer = None;
                }
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(self.fail(error)),
        }
    }
}

impl Answer {
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            // A time that no clock can express never comes.
            let until = self.runtime.now().checked_add(self.limit);
            self.timer = until.map(|at| self.runtime.timer(at));
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Data that travels in one piece with the proposal.
const TOGETHER_MAX: usize = 16 * 1024;
