//! Packets on their way: in order, and sent again when they did not get through.

use std::io;

use bytes::Bytes;

use super::{ConnectionId, MILLISECOND, Phase, RETRY_MIN, Segment, Side};
use crate::{queue::Event, trace::Kind, world::World};

impl World {
    pub(super) fn send_segment(&mut self, id: ConnectionId, side: Side, bytes: Bytes, fin: bool) {
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        let segment = Segment {
            offset: end.sent,
            bytes,
            fin,
            flights: end.flights + 1,
        };
        end.sent = segment.end();
        let waits = !end.stalled.is_empty();
        if waits {
            self.stall(id, side, segment);
        } else {
            self.put_on_link(id, side, segment);
        }
    }

    fn put_on_link(&mut self, id: ConnectionId, side: Side, segment: Segment) {
        let len = segment.bytes.len();
        if let Some((_, to)) = self.path(id, side) {
            self.record(Kind::Sent, [id, u64::from(to.0), len as u64]);
        }
        let to = side.other();
        self.send(
            id,
            side,
            len,
            Event::Segment {
                connection: id,
                to,
                segment,
            },
        );
    }

    /// Sends a packet without payload.
    pub(super) fn send_control(&mut self, id: ConnectionId, side: Side, event: Event) {
        self.send(id, side, 0, event);
    }

    /// The packet arrives after all that were sent before it from the same side.
    fn send(&mut self, id: ConnectionId, side: Side, bytes: usize, event: Event) {
        let Some(path) = self.path(id, side) else {
            return;
        };
        if self.is_far(id) {
            self.pass_out(id, side, &event);
        }
        let arrival = self.links.send(path, bytes, self.now, &mut self.rng);
        self.stats.packets += 1;
        self.stats.bytes += bytes as u64;
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        end.last_arrival = end.last_arrival.max(arrival);
        let at = end.last_arrival;
        self.queue.push(at, event);
    }

    /// Keeps a segment that did not arrive, to send it again.
    pub(super) fn stall(&mut self, id: ConnectionId, side: Side, segment: Segment) {
        let now = self.now;
        let target = self.path(id, side).map_or(0, |(_, to)| u64::from(to.0));
        let len = segment.bytes.len() as u64;
        let Some(end) = self.end_mut(id, side) else {
            return;
        };
        if end.phase != Phase::Open {
            return;
        }
        if end.stalled.is_empty() {
            end.stalled_since = now;
        }
        end.stalled.insert(segment.offset, segment);
        if end.retransmit.is_none() {
            let pause = end.pause;
            self.retransmit_after(id, side, pause);
        }
        self.record(Kind::Stalled, [id, target, len]);
    }

    fn retransmit_after(&mut self, id: ConnectionId, from: Side, pause: u64) {
        let key = self.after(
            pause,
            Event::Retransmit {
                connection: id,
                from,
            },
        );
        if let Some(end) = self.end_mut(id, from) {
            end.retransmit = Some(key);
        }
    }

    pub(crate) fn handle_retransmit(&mut self, id: ConnectionId, from: Side) {
        let now = self.now;
        let reached = self.would_arrive(id, from);
        let Some(end) = self.end_mut(id, from) else {
            return;
        };
        end.retransmit = None;
        if reached {
            end.pause = RETRY_MIN;
            let segments = std::mem::take(&mut end.stalled);
            for segment in segments.into_values() {
                self.put_on_link(id, from, segment);
            }
        } else if now - end.stalled_since > GIVE_UP {
            self.fail(id, from, io::ErrorKind::TimedOut);
        } else {
            end.pause = (end.pause * 2).min(RETRY_MAX);
            let pause = end.pause;
            self.retransmit_after(id, from, pause);
        }
    }
}

const RETRY_MAX: u64 = 120_000 * MILLISECOND;
/// How long bytes may go unacknowledged; as on Linux.
const GIVE_UP: u64 = 924_600 * MILLISECOND;
