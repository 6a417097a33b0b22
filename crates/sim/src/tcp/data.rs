//! Bytes from the buffers of one side into those of the other, and the window that opens as they are read.

use std::{
    io::{self, IoSlice, IoSliceMut},
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};

use super::{ConnectionId, End, Phase, RETRY_MIN, Segment, Side};
use crate::{
    link::Room,
    nat::PacketKind,
    queue::Event,
    trace::Kind,
    world::{World, remember},
};

/// Sockets ask for these.
impl World {
    pub(crate) fn poll_read(
        &mut self,
        (id, side): (ConnectionId, Side),
        waker: &Waker,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let window = self.window;
        let Some(end) = self.end_mut(id, side) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        if end.buffer.is_empty() {
            return match (end.error, end.phase) {
                (Some(error), _) => Poll::Ready(Err(error.into())),
                (None, Phase::Gone) => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                (None, _) if end.fin_received => Poll::Ready(Ok(0)),
                (None, _) => {
                    let replaced = remember(&mut end.reader, waker);
                    self.retired.extend(replaced);
                    Poll::Pending
                }
            };
        }
        let taken = end.take(buffers);
        end.consumed += taken;
        if end.consumed >= (window / 4).max(1) {
            let bytes = std::mem::take(&mut end.consumed);
            let to = side.other();
            self.send_control(
                id,
                side,
                Event::Credit {
                    connection: id,
                    to,
                    bytes,
                },
            );
        }
        Poll::Ready(Ok(taken))
    }

    pub(crate) fn poll_write(
        &mut self,
        (id, side): (ConnectionId, Side),
        waker: &Waker,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let now = self.now;
        let Some((from, to)) = self.path(id, side) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let room = self.links.room(from, to, now);
        let Some(end) = self.end_mut(id, side) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        if end.fin_sent || end.error.is_some() || end.phase == Phase::Gone {
            let kind = end.error.unwrap_or(io::ErrorKind::BrokenPipe);
            return Poll::Ready(Err(kind.into()));
        }
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let (room, segment) = match room {
            Room::Bytes { room, segment } if end.credit > 0 => (room.min(end.credit), segment),
            Room::Bytes { .. } => {
                let replaced = remember(&mut end.writer, waker);
                self.retired.extend(replaced);
                return Poll::Pending;
            }
            Room::At(at) => {
                self.wait_for_room((id, side), waker, at);
                return Poll::Pending;
            }
        };
        let mut bytes = gather(buffers, room);
        let written = bytes.len();
        end.credit -= written;
        while !bytes.is_empty() {
            let next = bytes.split_to(segment.min(bytes.len()));
            self.send_segment(id, side, next, false);
        }
        Poll::Ready(Ok(written))
    }
}

/// What the network brings.
impl World {
    pub(crate) fn handle_segment(&mut self, id: ConnectionId, to: Side, segment: Segment) {
        let from = to.other();
        let Some(path) = self.path(id, from) else {
            return;
        };
        let (kind, target) = (segment.kind(), path.1);
        let reached = self.arrives_by(path, id, to, kind);
        let Some(end) = self.end_mut(id, to) else {
            return;
        };
        let (orphan, opening) = (end.orphan, end.phase == Phase::Opening);
        let deaf = end.phase == Phase::Gone || end.error.is_some();
        if reached && (deaf || (orphan && !segment.bytes.is_empty())) {
            self.send_control(
                id,
                to,
                Event::Reset {
                    connection: id,
                    to: from,
                },
            );
            if orphan {
                self.forget(id, to);
            }
            return;
        }
        // What comes after a gap waits until the gap is filled.
        if !reached || opening || segment.offset != end.received {
            self.stall(id, from, segment);
            return;
        }
        end.received = segment.end();
        end.fin_received |= segment.fin;
        let waker = end.reader.take();
        self.wake(waker);
        let len = segment.bytes.len() as u64;
        self.record(Kind::Arrived, [id, u64::from(target.0), len]);
        self.trace.content(&segment.bytes);
        let end = self.end_mut(id, to).expect("it was there a moment ago");
        if !segment.bytes.is_empty() {
            end.buffer.push_back((segment.flights, segment.bytes));
        }
        self.forget_if_done(id, to);
        self.forget_if_done(id, from);
    }

    pub(crate) fn handle_credit(&mut self, id: ConnectionId, to: Side, bytes: usize) {
        if self.end_mut(id, to).is_none() {
            return;
        }
        if !self.arrives(id, to, PacketKind::Segment) {
            self.after(
                RETRY_MIN * 5,
                Event::Credit {
                    connection: id,
                    to,
                    bytes,
                },
            );
            return;
        }
        let Some(end) = self.end_mut(id, to) else {
            return;
        };
        end.credit += bytes;
        let waker = end.writer.take();
        self.wake(waker);
    }
}

impl World {
    fn wait_for_room(&mut self, (id, side): (ConnectionId, Side), waker: &Waker, at: u64) {
        let key = self.queue.push(at, Event::Wake(waker.clone()));
        let earlier = self.end_mut(id, side).and_then(|end| end.room.replace(key));
        let earlier = earlier.and_then(|key| self.queue.remove(key));
        if let Some(Event::Wake(waker)) = earlier {
            self.retired.push(waker);
        }
    }
}

impl End {
    fn take(&mut self, buffers: &mut [IoSliceMut<'_>]) -> usize {
        let mut taken = 0;
        for buffer in buffers {
            let mut filled = 0;
            while filled < buffer.len() {
                let Some((flights, bytes)) = self.buffer.front_mut() else {
                    break;
                };
                self.flights = self.flights.max(*flights);
                let count = bytes.len().min(buffer.len() - filled);
                buffer[filled..filled + count].copy_from_slice(&bytes.split_to(count));
                filled += count;
                if bytes.is_empty() {
                    self.buffer.pop_front();
                }
            }
            taken += filled;
        }
        taken
    }
}

fn gather(buffers: &[IoSlice<'_>], room: usize) -> Bytes {
    let total: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    let mut gathered = BytesMut::with_capacity(total.min(room));
    for buffer in buffers {
        let count = buffer.len().min(room - gathered.len());
        gathered.extend_from_slice(&buffer[..count]);
    }
    gathered.freeze()
}
