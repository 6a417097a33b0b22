//! The task that moves a connection's bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite, future::poll_fn};
use smallvec::SmallVec;

use super::{
    DriverConfig,
    alarm::Alarm,
    buffers::{Inbound, Outbound, READ_MIN},
    shared::Shared,
};
use crate::{
    Batch, ChannelParts, CloseReason, ConnectionError, Fault, Io, Records, runtime::FAR_AWAY,
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

/// A deadline; one that a clock can't express is replaced by one that is far away.
fn deadline(since: Instant, limit: Duration) -> Instant {
    since.checked_add(limit).unwrap_or(since + FAR_AWAY)
}

/// Rounds of sending and receiving before other tasks get their turn.
const BUDGET: usize = 16;

/// Bytes that are received before others get their turn: they are to find them in the cache.
const RECEIVED_MAX: usize = 256 * 1024;

/// Bytes of buffers that an idle connection may keep.
const QUIET_MAX: usize = 1024;

/// How long a connection keeps large buffers after the last byte in them.
const IDLE: Duration = Duration::from_millis(500);
