//! What the application asks of the machine.

use std::task::Poll;

use peerkit_core::{ConnectionError, ResetCode, StreamError, StreamId};

use crate::{
    frame::{Flags, Header},
    session::{NO_ERROR, Phase, Session, wake_reader, wake_writer},
    stream::{Half, Owner, Stream, Writer},
};

impl Session {
    /// Makes a stream. The remote learns of it with the first frame that is sent on it.
    pub(crate) fn open_stream(&mut self) -> Poll<Result<StreamId, ConnectionError>> {
        let allowed = self.check_openable();
        if let Err(error) = allowed {
            // Those who wait learn it one after another.
            self.openable();
            return Poll::Ready(Err(error));
        }
        if self.is_full() {
            self.opener_waited = true;
            return Poll::Pending;
        }
        let Some(id) = self.next_id else {
            return Poll::Ready(Err(ConnectionError::Limit("all stream ids are used up")));
        };
        self.next_id = id.checked_add(2);
        self.table.insert(id, Stream::outbound(self.now));
        if !self.is_full() {
            self.openable();
        }
        Poll::Ready(Ok(StreamId(id.into())))
    }

    fn check_openable(&self) -> Result<(), ConnectionError> {
        match &self.phase {
            Phase::Over(error) => Err(error.clone()),
            Phase::Draining => Err(ConnectionError::ClosedByRemote(NO_ERROR)),
            Phase::Running => Ok(()),
        }
    }

    // spec: yamux#ack-backlog "SHOULD limit the number of unacknowledged streams to 256".
    fn is_full(&self) -> bool {
        self.table.unacknowledged() >= self.config.unacknowledged_streams_max
            || self.table.len() >= self.config.streams_max
    }

    pub(crate) fn accept_stream(&mut self) -> Option<StreamId> {
        if self.ended().is_some() {
            return None;
        }
        let id = self.incoming.pop_front()?;
        let stream = self.table.get(id).expect("the queue holds living streams");
        stream.owner = Owner::Application;
        // The acknowledgement leaves with the first answer, or alone when there is none by then.
        self.outbound
            .request_control(id, &mut stream.control_requested);
        Some(StreamId(id.into()))
    }

    pub(crate) fn read_stream(
        &mut self,
        id: StreamId,
        out: &mut [u8],
    ) -> Poll<Result<usize, StreamError>> {
        let id = wire_id(id);
        let Some((stream, pools)) = self.table.with_pools(id) else {
            return Poll::Ready(Err(StreamError::Reset));
        };
        let count = stream.received.read(out, &mut pools.slices);
        if count > 0 {
            stream.window.consume(count);
            self.open_window(id);
            return Poll::Ready(Ok(count));
        }
        match &stream.receiving {
            _ if out.is_empty() => return Poll::Ready(Ok(0)),
            Half::Finished => return Poll::Ready(Ok(0)),
            Half::Failed(error) => return Poll::Ready(Err(error.clone())),
            Half::Open => {}
        }
        if let Phase::Over(error) = &self.phase {
            return Poll::Ready(Err(error.clone().into()));
        }
        stream.reader_waits = true;
        if !stream.is_announced() {
            // Who reads first waits for a remote that has to learn of the stream.
            self.outbound
                .request_control(id, &mut stream.control_requested);
        }
        Poll::Pending
    }

    /// The application has read: grants the remote as much again, once it is worth a frame.
    fn open_window(&mut self, id: u32) {
        let Some((stream, pools)) = self.table.with_pools(id) else {
            return;
        };
        let over = matches!(self.phase, Phase::Over(_));
        if over || stream.control_requested || !stream.wants_more() || !stream.window.is_due() {
            return;
        }
        if let Some(rtt) = self.keep_alive.rtt() {
            let max = self.config.stream_window_max;
            stream.window.tune(self.now, rtt, max, &mut pools.growth);
        }
        if let Some(value) = self.keep_alive.measure(self.now) {
            self.outbound.frame(Header::ping(Flags::SYN, value));
        }
        self.outbound
            .request_control(id, &mut stream.control_requested);
    }

    pub(crate) fn write_stream(
        &mut self,
        id: StreamId,
        bytes: &[u8],
    ) -> Poll<Result<usize, StreamError>> {
        let id = wire_id(id);
        if let Phase::Over(error) = &self.phase {
            return Poll::Ready(Err(error.clone().into()));
        }
        let Some(stream) = self.table.get(id) else {
            return Poll::Ready(Err(StreamError::Reset));
        };
        match &stream.sending {
            Half::Open if bytes.is_empty() => return Poll::Ready(Ok(0)),
            Half::Open => {}
            Half::Finished => return Poll::Ready(Err(StreamError::WriteClosed)),
            Half::Failed(error) => return Poll::Ready(Err(error.clone())),
        }
        let sendable = stream.sendable(bytes.len());
        if sendable == 0 {
            stream.wait_for_credit(bytes.len());
            return Poll::Pending;
        }
        let room = self.outbound.room(&stream.turn);
        if room == 0 {
            stream.writer = Writer::Room;
            self.outbound.wait(id, &mut stream.turn);
            return Poll::Pending;
        }
        let count = sendable.min(room).min(self.config.frame_payload_max);
        let length = u32::try_from(count).expect("a frame is smaller than a window");
        let header = Header::data(id, stream.greet(), length);
        stream.sent(count);
        self.outbound
            .data(header, &bytes[..count], &mut stream.turn);
        Poll::Ready(Ok(count))
    }

    pub(crate) fn finish_stream(&mut self, id: StreamId) -> Result<(), StreamError> {
        let id = wire_id(id);
        if let Phase::Over(error) = &self.phase {
            return Err(error.clone().into());
        }
        let Some(stream) = self.table.get(id) else {
            return Err(StreamError::Reset);
        };
        match &stream.sending {
            Half::Open => {}
            Half::Finished => return Ok(()),
            Half::Failed(error) => return Err(error.clone()),
        }
        let mut flags = stream.greet();
        if flags == Flags::ACK {
            // py-libp2p 0.8 overlooks the end of a stream on a frame that acknowledges it.
            self.outbound.frame(Header::window_update(id, flags, 0));
            flags = Flags::NONE;
        }
        stream.sending = Half::Finished;
        self.outbound
            .frame(Header::data(id, flags.with(Flags::FIN), 0));
        wake_writer(&mut self.events, id, stream);
        Ok(())
    }

    pub(crate) fn reset_stream(&mut self, id: StreamId, code: ResetCode) {
        let id = wire_id(id);
        let Some((stream, pools)) = self.table.with_pools(id) else {
            return;
        };
        let tell = stream.is_live() && !matches!(self.phase, Phase::Over(_));
        stream.fail_by_local();
        stream.received.clear(&mut pools.slices);
        wake_reader(&mut self.events, id, stream);
        wake_writer(&mut self.events, id, stream);
        if tell {
            self.outbound.frame(Header::reset(id, code.0));
        }
        if self.table.acknowledge(id) {
            self.openable();
        }
    }

    pub(crate) fn forget_stream(&mut self, id: StreamId) {
        let id = wire_id(id);
        let over = self.ended().is_some();
        let Some(stream) = self.table.get(id) else {
            return;
        };
        if over {
            self.remove(id);
            return;
        }
        if matches!(stream.sending, Half::Finished) && stream.receiving.is_open() {
            self.table.let_go(id, self.now);
            return;
        }
        if stream.is_live() {
            self.outbound.frame(Header::reset(id, ResetCode::NONE.0));
        }
        self.remove(id);
    }
}

/// Streams have the same name here as on the wire.
fn wire_id(id: StreamId) -> u32 {
    u32::try_from(id.0).expect("the id of a stream of this session")
}

#[cfg(test)]
mod tests {
    use peerkit_core::{RecordLayout, Role, Session as _};

    use super::*;
    use crate::{Config, testing::start};

    #[test]
    fn stream_ids_never_wrap_around() {
        let now = start();
        let mut session = Session::new(Config::default(), Role::Dialer, RecordLayout::PLAIN, now);
        session.next_id = Some(u32::MAX - 2);
        for id in [u32::MAX - 2, u32::MAX] {
            let opened = session.open(now);
            assert!(matches!(opened, Poll::Ready(Ok(stream)) if stream.0 == u64::from(id)));
        }
        let refused = session.open(now);
        assert!(matches!(
            refused,
            Poll::Ready(Err(ConnectionError::Limit(_)))
        ));
        assert_eq!(session.stream_count(), 2);
    }
}
