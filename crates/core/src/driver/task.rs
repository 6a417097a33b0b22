//! The task that moves a connection's bytes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite, future::poll_fn};
use smallvec::SmallVec;

use super::{DriverConfig, shared::Shared};
use crate::{
    Batch, ChannelParts, CloseReason, ConnectionError, Fault, Io, Preamble, Records, Timer,
    runtime::FAR_AWAY,
};

pub(super) struct Driver {
    shared: Arc<Shared>,
    config: DriverConfig,
    io: Box<dyn Io>,
    records: Box<dyn Records>,
    alarm: Alarm,
    /// When large buffers were last in use, while they are held: an idle connection gives them back.
    active: Option<Instant>,
    outbound: Outbound,
    inbound: Inbound,
    /// Until when the remote has to confirm the connection, if it has to.
    confirm_by: Option<Instant>,
    /// Others had their turn since the application's news came.
    gathered: bool,
}

/// Bytes on their way to the socket.
struct Outbound {
    /// What the handshake left unsent; goes out together with the first batch.
    leading: BytesMut,
    batch: Batch,
    unflushed: bool,
    /// The socket takes nothing at present.
    blocked: bool,
    stall: Option<Stall>,
}

/// The remote takes less than is to be sent; it is over when it has taken enough, or everything.
struct Stall {
    since: Instant,
    /// Bytes that it has taken meanwhile.
    taken: usize,
}

/// Bytes on their way from the socket.
struct Inbound {
    raw: BytesMut,
    /// How much to read next; adapts to how much comes.
    read_size: usize,
    preamble: Option<Box<dyn Preamble>>,
    /// Payload that waits for the preamble to be complete.
    early: BytesMut,
}

/// A timer that is touched as seldom as possible.
struct Alarm {
    timer: Pin<Box<dyn Timer>>,
    /// When it fires; `None` once it has fired.
    armed: Option<Instant>,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, channel: ChannelParts, config: DriverConfig) -> Self {
        let wire = channel.wire.into_parts();
        debug_assert!(wire.preamble.is_none(), "the handshake is complete");
        let now = shared.runtime().now();
        let timer = shared.runtime().timer(now);
        let unconfirmed = channel.preamble.is_some();
        Self {
            confirm_by: unconfirmed.then(|| deadline(now, config.confirm_timeout)),
            gathered: false,
            shared,
            config,
            io: wire.io,
            records: channel.records,
            alarm: Alarm {
                timer,
                armed: Some(now),
            },
            active: None,
            outbound: Outbound {
                leading: wire.outbound,
                batch: Batch::default(),
                unflushed: false,
                blocked: false,
                stall: None,
            },
            inbound: Inbound {
                raw: wire.inbound,
                read_size: READ_MIN,
                preamble: channel.preamble,
                early: channel.early,
            },
        }
    }

    /// Moves bytes until the connection has ended, then says goodbye.
    pub(super) async fn run(mut self) {
        let end = poll_fn(|cx| self.poll_run(cx)).await;
        tracing::debug!(target: "peerkit::connection", reason = %end, "connection ended");
        let goodbye = if end.fault() == Fault::PeerMisbehaved {
            CloseReason::ProtocolError
        } else {
            CloseReason::Normal
        };
        self.shared.end(end, Some(goodbye));
        self.say_goodbye().await;
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        self.shared.register_driver(cx.waker());
        if self.gather() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.poll_work(cx) {
            Ok(Progress::Yield) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(Progress::Wait) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    }

    /// Whether to let others run before sending: tasks that are ready add their frames to the
    /// same packet, which costs them a place in the queue and saves system calls on both sides.
    fn gather(&mut self) -> bool {
        self.gathered = !self.gathered && self.shared.is_notified();
        self.gathered
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Result<Progress, ConnectionError> {
        self.deliver_leftovers()?;
        let mut received = 0;
        for _ in 0..BUDGET {
            if let Err(error) = self.send(cx) {
                return Err(self.last_words(cx).unwrap_or(error));
            }
            let blocked = self.outbound.blocked;
            let outlook = self
                .shared
                .outlook(blocked, self.config.unread_answers_max)?;
            if let Some(end) = outlook.ended {
                return Err(end);
            }
            let news = if outlook.may_read {
                self.receive(cx)?
            } else {
                0
            };
            let fired = self.poll_alarm(cx, outlook.timeout)?;
            if news == 0 && !fired && !outlook.timed_out {
                return Ok(Progress::Wait);
            }
            received += news;
            if received >= RECEIVED_MAX {
                break;
            }
        }
        Ok(Progress::Yield)
    }

    /// Sends until nothing is left or the socket takes no more.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionError> {
        loop {
            if self.outbound.batch.unsent().is_empty() {
                if self.shared.transmit(&mut self.outbound.batch) {
                    self.outbound.batch.seal(self.records.as_mut())?;
                } else if self.outbound.leading.is_empty() {
                    self.outbound.stall = None;
                    return self.flush(cx);
                }
            }
            let written = self.outbound.poll_write(cx, self.io.as_mut());
            let now = self.shared.runtime().now();
            let Poll::Ready(written) = written else {
                self.outbound.block(now);
                return Ok(());
            };
            self.outbound.advance(written?, self.config.write_min);
            self.note_use(now);
        }
    }

    /// A remote that does not take bytes any more may have said why.
    fn last_words(&mut self, cx: &mut Context<'_>) -> Option<ConnectionError> {
        for _ in 0..BUDGET {
            match self.receive(cx) {
                Ok(1..) => {}
                Ok(0) | Err(ConnectionError::Io(_) | ConnectionError::Truncated) => {
                    return None;
                }
                Err(reason) => return Some(reason),
            }
        }
        None
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionError> {
        if self.outbound.unflushed && Pin::new(&mut self.io).poll_flush(cx)?.is_ready() {
            self.outbound.unflushed = false;
        }
        Ok(())
    }

    /// Reads once and tells how much has come.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<usize, ConnectionError> {
        match self
            .inbound
            .poll_fill(cx, self.io.as_mut(), self.config.read_buffer_max)
        {
            Poll::Pending => Ok(0),
            Poll::Ready(Ok(0)) => Err(self.end_of_input()),
            Poll::Ready(Ok(count)) => {
                self.note_use(self.shared.runtime().now());
                self.deliver().map(|()| count)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
        }
    }

    fn end_of_input(&self) -> ConnectionError {
        let end = self.shared.end_of_input();
        if matches!(end, ConnectionError::Truncated) && !self.records.detects_truncation() {
            return ConnectionError::ClosedByRemote(0);
        }
        end
    }

    /// The handshake may have read bytes that belong to the muxer.
    fn deliver_leftovers(&mut self) -> Result<(), ConnectionError> {
        if !self.inbound.early.is_empty() {
            self.deliver_early()?;
        }
        if self.inbound.raw.is_empty() {
            Ok(())
        } else {
            self.deliver()
        }
    }

    /// The same for bytes that were decrypted already.
    fn deliver_early(&mut self) -> Result<(), ConnectionError> {
        let waited = self.inbound.preamble.is_some();
        let early = self.inbound.early.split();
        let Some(payload) = self.inbound.pass_preamble(early)? else {
            return Ok(());
        };
        if waited {
            self.shared.confirm();
        }
        if payload.is_empty() {
            return Ok(());
        }
        self.shared.receive(std::iter::once(payload))
    }

    /// Opens the records that are complete and hands their payload to the machine.
    fn deliver(&mut self) -> Result<(), ConnectionError> {
        let mut chunks = SmallVec::<[Bytes; 8]>::new();
        while let Some(payload) = self.records.open(&mut self.inbound.raw)? {
            if self.inbound.preamble.is_none() {
                chunks.push(payload.freeze());
            } else if let Some(rest) = self.inbound.pass_preamble(payload)? {
                self.shared.confirm();
                self.confirm_by = None;
                chunks.push(rest);
            }
        }
        chunks.retain(|chunk| !chunk.is_empty());
        if chunks.is_empty() {
            return Ok(());
        }
        self.shared.receive(chunks.into_iter())
    }

    /// Arms the timer; true when the machine's time has come already.
    fn poll_alarm(
        &mut self,
        cx: &mut Context<'_>,
        session: Option<Instant>,
    ) -> Result<bool, ConnectionError> {
        let stalled = self
            .outbound
            .stall
            .as_ref()
            .map(|stall| deadline(stall.since, self.config.write_timeout));
        let idle = self.active.map(|since| since + IDLE);
        let now = self.shared.runtime().now();
        if stalled.is_some_and(|at| at <= now) {
            return Err(ConnectionError::Timeout(self.config.write_timeout));
        }
        if self.confirm_by.is_some_and(|at| at <= now) {
            return Err(ConnectionError::Timeout(self.config.confirm_timeout));
        }
        if idle.is_some_and(|at| at <= now) {
            self.release_buffers()?;
        }
        let deadlines = stalled.into_iter().chain(self.confirm_by);
        let at = session.into_iter().chain(deadlines).chain(idle).min();
        Ok(self.alarm.poll(cx, at, now).is_ready())
    }

    /// Small buffers are kept: to be woken once more for each message would cost more.
    fn note_use(&mut self, now: Instant) {
        if self.inbound.raw.capacity() + self.outbound.batch.capacity() > QUIET_MAX {
            self.active = Some(now);
        }
    }

    fn release_buffers(&mut self) -> Result<(), ConnectionError> {
        self.active = None;
        self.inbound.release();
        if self.outbound.is_empty() {
            self.outbound.batch.release();
            if self.shared.transmit(&mut self.outbound.batch) {
                self.outbound.batch.seal(self.records.as_mut())?;
            }
        }
        Ok(())
    }

    /// Sends what is left, closes the write side and waits a little for the remote to do the same:
    /// a socket that is closed with unread bytes would destroy what is still on its way.
    async fn say_goodbye(&mut self) {
        let until = deadline(self.shared.runtime().now(), self.config.close_timeout);
        let mut closed = false;
        poll_fn(|cx| {
            let now = self.shared.runtime().now();
            if self.alarm.poll(cx, Some(until), now).is_ready() {
                return Poll::Ready(());
            }
            self.poll_goodbye(cx, &mut closed)
        })
        .await;
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>, closed: &mut bool) -> Poll<()> {
        if self.send(cx).is_err() {
            return Poll::Ready(());
        }
        if self.outbound.is_empty() && !*closed {
            if ready!(Pin::new(&mut self.io).poll_close(cx)).is_err() {
                return Poll::Ready(());
            }
            *closed = true;
        }
        let mut scratch = [0; 4096];
        for _ in 0..BUDGET {
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut scratch)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.end(ConnectionError::Closed, None);
    }
}

enum Progress {
    Wait,
    Yield,
}

impl Outbound {
    fn is_empty(&self) -> bool {
        self.leading.is_empty() && self.batch.unsent().is_empty()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, io: &mut dyn Io) -> Poll<io::Result<usize>> {
        let batch = self.batch.unsent();
        let written = if self.leading.is_empty() {
            ready!(Pin::new(io).poll_write(cx, batch))?
        } else {
            let slices = [IoSlice::new(&self.leading), IoSlice::new(batch)];
            ready!(Pin::new(io).poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    fn block(&mut self, now: Instant) {
        self.blocked = true;
        self.stall.get_or_insert(Stall {
            since: now,
            taken: 0,
        });
    }

    /// A stall goes on until at least `enough` was taken: one byte now and then does not end it.
    fn advance(&mut self, written: usize, enough: usize) {
        self.blocked = false;
        self.unflushed = true;
        if let Some(stall) = &mut self.stall {
            stall.taken = stall.taken.saturating_add(written);
        }
        self.stall.take_if(|stall| stall.taken >= enough.max(1));
        let leading = written.min(self.leading.len());
        self.leading.advance(leading);
        self.batch.advance(written - leading);
    }
}

impl Inbound {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        if self.raw.is_empty() && self.read_size == READ_MIN {
            return self.poll_first(cx, io, max);
        }
        let filled = self.raw.len();
        self.raw.resize(filled + self.read_size, 0);
        let outcome = Pin::new(io).poll_read(cx, &mut self.raw[filled..]);
        let read = match &outcome {
            Poll::Ready(Ok(read)) => *read,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.raw.truncate(filled + read);
        self.adapt(read, max);
        outcome
    }

    /// Reads into the stack, since little is to be expected: what waits for little holds no buffer.
    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Io,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = [0; READ_MIN];
        let read = ready!(Pin::new(io).poll_read(cx, &mut scratch))?;
        self.raw = BytesMut::from(&scratch[..read]);
        self.adapt(read, max);
        Poll::Ready(Ok(read))
    }

    /// Doubles the next read when this one was full, halves it when nothing came.
    fn adapt(&mut self, read: usize, max: usize) {
        if read == self.read_size {
            self.read_size = (self.read_size * 2).min(max.max(READ_MIN));
        } else if read == 0 {
            self.read_size = (self.read_size / 2).max(READ_MIN);
        }
    }

    fn release(&mut self) {
        if self.raw.is_empty() {
            self.raw = BytesMut::new();
            self.read_size = READ_MIN;
        }
    }

    /// Feeds the preamble; what lies behind it is returned once it is complete.
    fn pass_preamble(&mut self, payload: BytesMut) -> Result<Option<Bytes>, ConnectionError> {
        let Some(preamble) = &mut self.preamble else {
            return Ok(Some(payload.freeze()));
        };
        self.early.unsplit(payload);
        match preamble.handle_read(&mut self.early) {
            Poll::Pending => Ok(None),
            Poll::Ready(outcome) => {
                self.preamble = None;
                outcome?;
                Ok(Some(self.early.split().freeze()))
            }
        }
    }
}

impl Alarm {
    /// Ready when `at` has come. A timer that is set too early is left alone, since
    /// deadlines move later all the time: it is set again when it fires.
    fn poll(&mut self, cx: &mut Context<'_>, at: Option<Instant>, now: Instant) -> Poll<()> {
        let Some(wanted) = at else {
            return Poll::Pending;
        };
        if wanted <= now {
            return Poll::Ready(());
        }
        if self.armed.is_none_or(|armed| armed > wanted) {
            self.arm(wanted);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.armed == Some(wanted) {
                self.armed = None;
                return Poll::Ready(());
            }
            self.arm(wanted);
        }
        Poll::Pending
    }

    fn arm(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
        self.armed = Some(at);
    }
}

/// A deadline; one that a clock can't express is replaced by one that is far away.
fn deadline(since: Instant, limit: Duration) -> Instant {
    since.checked_add(limit).unwrap_or(since + FAR_AWAY)
}

/// Rounds of sending and receiving before other tasks get their turn.
const BUDGET: usize = 16;

/// Bytes that are received before others get their turn: they are to find them in the cache.
const RECEIVED_MAX: usize = 256 * 1024;

/// The smallest read from a socket.
const READ_MIN: usize = 2048;

/// Bytes of buffers that an idle connection may keep.
const QUIET_MAX: usize = 1024;

/// How long a connection keeps large buffers after the last byte in them.
const IDLE: Duration = Duration::from_millis(500);
