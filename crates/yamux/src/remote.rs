//! What the remote sends.
//!
//! Every frame is checked against the limits before anything is kept of it. Frames of streams
//! that are unknown are normal: they were on their way when this side reset the stream.
//!
//! A stream may be opened with any unused id of the remote's parity, in any order, since
//! ids are given out before the first frame of a stream is sent.

use bytes::Bytes;
use peerkit_core::{ConnectionError, ResetCode, Role, SessionEvent, StreamId};

use crate::{
    config::INITIAL_WINDOW,
    frame::{Flags, Header, Item, Kind},
    session::{NO_ERROR, Phase, Session, wake_reader, wake_writer},
    stream::{CreditOverflow, Half, Owner, Stream},
    window::Overrun,
};

/// Where the body of a data frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Discard,
    Deliver {
        id: u32,
        /// The stream ends behind it.
        last: bool,
    },
}

impl Session {
    pub(crate) fn receive(&mut self, mut chunk: Bytes) -> Result<(), ConnectionError> {
        while let Some(item) = self.decoder.next(&mut chunk)? {
            match item {
                Item::Header(header) => self.on_header(header)?,
                Item::Body { bytes, last } => self.on_body(bytes, last),
            }
        }
        Ok(())
    }

    fn on_header(&mut self, header: Header) -> Result<(), ConnectionError> {
        match header.kind {
            Kind::Ping => self.on_ping(header),
            Kind::GoAway => self.on_go_away(header.length),
            Kind::Data | Kind::WindowUpdate => self.on_stream_frame(header),
        }
    }

    fn on_ping(&mut self, header: Header) -> Result<(), ConnectionError> {
        if !header.flags.contains(Flags::SYN) {
            let answer =
                header.flags.contains(Flags::ACK) && self.keep_alive.pong(header.length, self.now);
            return if answer { Ok(()) } else { self.count_empty() };
        }
        if !self.meters.pings.spend(self.now) {
            return Err(ConnectionError::Limit("too many pings"));
        }
        if self.unsent_pongs < self.config.unsent_pongs_max {
            self.unsent_pongs += 1;
            self.outbound.frame(Header::ping(Flags::ACK, header.length));
        } else {
            self.dropped_pongs += 1;
        }
        Ok(())
    }

    /// Streams may end in peace after an ordinary goodbye, as a one-way message may still be on
    /// its way out of the remote. A remote that does not wait for them closes the channel as well.
    fn on_go_away(&mut self, code: u32) -> Result<(), ConnectionError> {
        if code != NO_ERROR {
            return Err(ConnectionError::ClosedByRemote(code));
        }
        if matches!(self.phase, Phase::Draining) {
            return self.count_empty();
        }
        self.phase = Phase::Draining;
        for (id, stream) in self.table.iter_mut() {
            if !stream.is_announced() {
                stream.fail_unannounced(ConnectionError::ClosedByRemote(NO_ERROR));
                wake_reader(&mut self.events, id, stream);
                wake_writer(&mut self.events, id, stream);
            }
        }
        self.openable();
        Ok(())
    }

    fn on_stream_frame(&mut self, header: Header) -> Result<(), ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::Malformed(
                "a frame of a stream without a stream",
            ));
        }
        if body_length(header) > self.config.stream_window_max {
            return Err(ConnectionError::Malformed("a frame larger than any window"));
        }
        self.body = Body::Discard;
        if header.flags.contains(Flags::SYN) {
            return self.on_syn(header);
        }
        match self.table.get(header.stream) {
            Some(stream) if stream.is_announced() => {}
            Some(_) | None if header.flags == Flags::NONE && header.length == 0 => {
                return self.count_empty();
            }
            Some(_) | None => return Ok(()),
        }
        if header.flags.contains(Flags::RST) {
            self.on_reset(header)
        } else {
            self.on_established(header)
        }
    }

    fn on_syn(&mut self, header: Header) -> Result<(), ConnectionError> {
        let id = header.stream;
        if is_dialers(id) == (self.role == Role::Dialer) {
            return Err(ConnectionError::Malformed(
                "a stream was opened with an id of this side",
            ));
        }
        if self.table.contains(id) {
            return Err(ConnectionError::Malformed("a stream was opened twice"));
        }
        if body_length(header) > INITIAL_WINDOW {
            return Err(overrun(Overrun));
        }
        if header.flags.contains(Flags::RST) {
            return self.count_rapid_reset();
        }
        if !self.takes_stream() {
            let code = ResetCode::LIMIT_EXCEEDED;
            self.outbound.frame(Header::reset(id, code.0));
            return Ok(());
        }
        self.table.insert(id, Stream::inbound(self.now));
        self.incoming.push_back(id);
        self.events.push_back(SessionEvent::Incoming);
        self.on_established(header)
    }

    fn takes_stream(&self) -> bool {
        matches!(self.phase, Phase::Running)
            && self.table.inbound() < self.config.inbound_streams_max
            && self.table.len() < self.config.streams_max
    }

    /// A reset of a stream that both sides know.
    fn on_reset(&mut self, header: Header) -> Result<(), ConnectionError> {
        let id = header.stream;
        // The length of a data frame is that of its body, even when nobody wants that.
        let code = match header.kind {
            Kind::WindowUpdate => ResetCode(header.length),
            Kind::Data | Kind::Ping | Kind::GoAway => ResetCode::NONE,
        };
        if self.table.acknowledge(id) {
            self.openable();
        }
        let Some((stream, pools)) = self.table.with_pools(id) else {
            return Ok(());
        };
        match stream.owner {
            // A message that came completely can still be accepted.
            Owner::Nobody if stream.receiving.is_open() => {
                // As long as the queue is, and only as often as rapid resets are allowed.
                self.incoming.retain(|&other| other != id);
                self.remove(id);
                return self.count_rapid_reset();
            }
            Owner::Gone { .. } => self.remove(id),
            Owner::Nobody | Owner::Application => {
                if stream.receiving.is_open() {
                    stream.received.clear(&mut pools.slices);
                }
                stream.fail_by_remote(code);
                wake_reader(&mut self.events, id, stream);
                wake_writer(&mut self.events, id, stream);
            }
        }
        Ok(())
    }

    /// A frame of a stream that both sides know.
    fn on_established(&mut self, header: Header) -> Result<(), ConnectionError> {
        let id = header.stream;
        // Whatever comes back tells that the stream has arrived, with or without the flag.
        let acknowledged = self.table.acknowledge(id);
        if acknowledged {
            self.openable();
        }
        let Some(stream) = self.table.get(id) else {
            return Ok(());
        };
        let ends = header.flags.contains(Flags::FIN) && stream.receiving.is_open();
        let opens = header.flags.contains(Flags::SYN);
        if header.length == 0 && !(acknowledged || ends || opens) {
            return self.count_empty();
        }
        match header.kind {
            Kind::Data if header.length > 0 => return self.on_data(header),
            Kind::WindowUpdate => {
                stream.add_credit(header.length).map_err(credit_overflow)?;
                if stream.credit_suffices() {
                    self.events
                        .push_back(SessionEvent::Writable(StreamId(id.into())));
                }
            }
            Kind::Data | Kind::Ping | Kind::GoAway => {}
        }
        if ends {
            self.on_end(id);
        }
        Ok(())
    }

    /// The head of a data frame with a body.
    fn on_data(&mut self, header: Header) -> Result<(), ConnectionError> {
        let id = header.stream;
        let Some(stream) = self.table.get(id) else {
            return Ok(());
        };
        if !stream.receiving.is_open() {
            return Ok(());
        }
        stream.window.take(header.length).map_err(overrun)?;
        if let Owner::Gone { .. } = stream.owner {
            self.outbound.frame(Header::reset(id, ResetCode::NONE.0));
            self.remove(id);
            return Ok(());
        }
        self.body = Body::Deliver {
            id,
            last: header.flags.contains(Flags::FIN),
        };
        Ok(())
    }

    fn on_body(&mut self, bytes: Bytes, end: bool) {
        let Body::Deliver { id, last } = self.body else {
            return;
        };
        let Some((stream, pools)) = self.table.with_pools(id) else {
            return;
        };
        if !stream.receiving.is_open() || matches!(stream.owner, Owner::Gone { .. }) {
            return;
        }
        stream.received.push(bytes, &mut pools.slices);
        wake_reader(&mut self.events, id, stream);
        if end && last {
            self.on_end(id);
        }
    }

    /// The remote will send no more on this stream.
    fn on_end(&mut self, id: u32) {
        let Some(stream) = self.table.get(id) else {
            return;
        };
        if !stream.receiving.is_open() {
            return;
        }
        stream.receiving = Half::Finished;
        if let Owner::Gone { .. } = stream.owner {
            self.remove(id);
        } else {
            wake_reader(&mut self.events, id, stream);
        }
    }

    fn count_empty(&mut self) -> Result<(), ConnectionError> {
        if self.meters.empty_frames.spend(self.now) {
            Ok(())
        } else {
            Err(ConnectionError::Limit("too many frames without effect"))
        }
    }

    fn count_rapid_reset(&mut self) -> Result<(), ConnectionError> {
        if self.meters.rapid_resets.spend(self.now) {
            Ok(())
        } else {
            Err(ConnectionError::Limit(
                "too many streams were opened and reset at once",
            ))
        }
    }
}

fn body_length(header: Header) -> u32 {
    match header.kind {
        Kind::Data => header.length,
        Kind::WindowUpdate | Kind::Ping | Kind::GoAway => 0,
    }
}

fn is_dialers(id: u32) -> bool {
    id % 2 == 1
}

fn overrun(Overrun: Overrun) -> ConnectionError {
    ConnectionError::Malformed("more data than the window allows")
}

fn credit_overflow(CreditOverflow: CreditOverflow) -> ConnectionError {
    ConnectionError::Malformed("a window larger than 4 GiB")
}
