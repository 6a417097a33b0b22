//! Datagrams.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    task::{Poll, Waker},
};

use bytes::Bytes;

use crate::{
    HostId,
    link::{below, chance, nanos},
    ports::{source_ip, takes},
    queue::Event,
    trace::Kind,
    world::{World, remember},
};

/// A bound UDP socket.
pub(crate) struct UdpState {
    pub(crate) addr: SocketAddr,
    /// At most [`QUEUE_MAX`] bytes; what comes then is lost.
    queue: VecDeque<(SocketAddr, Bytes)>,
    queued: usize,
    waker: Option<Waker>,
}

impl World {
    pub(crate) fn bind_udp(
        &mut self,
        host: HostId,
        addr: SocketAddr,
    ) -> io::Result<(u64, SocketAddr)> {
        let addr = self.bind_datagrams(host, addr)?;
        let id = self.next_id();
        let state = UdpState {
            addr,
            queue: VecDeque::new(),
            queued: 0,
            waker: None,
        };
        self.host_mut(host).udp.insert(id, state);
        Ok((id, addr))
    }

    pub(crate) fn close_udp(&mut self, host: HostId, id: u64) {
        let socket = self.host_mut(host).udp.remove(&id);
        self.retired.extend(socket.and_then(|socket| socket.waker));
    }

    pub(crate) fn poll_receive(
        &mut self,
        (host, id): (HostId, u64),
        waker: &Waker,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let Some(socket) = self.host_mut(host).udp.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some((source, datagram)) = socket.queue.pop_front() else {
            let replaced = remember(&mut socket.waker, waker);
            self.retired.extend(replaced);
            return Poll::Pending;
        };
        socket.queued -= datagram.len() + OVERHEAD;
        let count = datagram.len().min(buffer.len());
        buffer[..count].copy_from_slice(&datagram[..count]);
        Poll::Ready(Ok((count, source)))
    }

    /// Sends at once. A link without room, a loss or a target that is not there are not told to the sender.
    pub(crate) fn send_datagram(
        &mut self,
        (from, id): (HostId, u64),
        payload: &[u8],
        target: SocketAddr,
    ) -> io::Result<usize> {
        let Some(socket) = self.host(from).udp.get(&id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut source = socket.addr;
        if source.is_ipv4() != target.is_ipv4() || payload.len() > DATAGRAM_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if source.ip().is_unspecified() {
            source.set_ip(source_ip(from, target.ip()));
        }
        let Some((to, source)) = self.datagram_out(from, source, target) else {
            return Ok(payload.len());
        };
        let subjects = [u64::from(from.0), u64::from(to.0), payload.len() as u64];
        self.record(Kind::DatagramSent, subjects);
        let (loss, duplication) = {
            let link = self.links.config(from, to);
            (link.loss, link.duplication)
        };
        let full = self.links.is_full(from, to, self.now);
        if full || chance(&mut self.rng, loss) {
            self.lose(from, to, payload.len());
            return Ok(payload.len());
        }
        let copies = 1 + u32::from(chance(&mut self.rng, duplication));
        let payload = Bytes::copy_from_slice(payload);
        for _ in 0..copies {
            self.launch((from, source), (to, target), payload.clone());
        }
        Ok(payload.len())
    }

    fn launch(
        &mut self,
        (from, source): (HostId, SocketAddr),
        (to, target): (HostId, SocketAddr),
        payload: Bytes,
    ) {
        let len = payload.len();
        let arrival = self.links.send((from, to), len, self.now, &mut self.rng);
        self.stats.packets += 1;
        self.stats.bytes += len as u64;
        let config = self.links.config(from, to);
        let (reordering, latency) = (config.reordering, nanos(config.latency));
        let late = if chance(&mut self.rng, reordering) {
            1 + below(&mut self.rng, latency)
        } else {
            0
        };
        let event = Event::Datagram {
            from,
            to,
            source,
            target,
            payload,
        };
        self.queue.push(arrival.saturating_add(late), event);
    }

    pub(crate) fn handle_datagram(
        &mut self,
        (from, source): (HostId, SocketAddr),
        (to, target): (HostId, SocketAddr),
        payload: Bytes,
    ) {
        let len = payload.len();
        let Some((to, target)) = self.datagram_in(source, (to, target)) else {
            self.lose(from, to, len);
            return;
        };
        let reached = self.reaches(from, to);
        let sockets = &mut self.host_mut(to).udp;
        let found = sockets
            .values_mut()
            .find(|socket| takes(socket.addr, target));
        let Some(socket) =
            found.filter(|socket| reached && socket.queued + len + OVERHEAD <= QUEUE_MAX)
        else {
            self.lose(from, to, len);
            return;
        };
        socket.queued += len + OVERHEAD;
        let waker = socket.waker.take();
        socket.queue.push_back((source, payload.clone()));
        self.wake(waker);
        self.record(
            Kind::DatagramArrived,
            [u64::from(from.0), u64::from(to.0), len as u64],
        );
        self.trace.content(&payload);
    }

    fn lose(&mut self, from: HostId, to: HostId, len: usize) {
        self.stats.datagrams_lost += 1;
        self.links.lose(from, to);
        self.record(
            Kind::DatagramLost,
            [u64::from(from.0), u64::from(to.0), len as u64],
        );
    }
}

/// The most that fits an IPv4 packet.
const DATAGRAM_MAX: usize = 65_507;
/// What Linux holds for a socket by default.
const QUEUE_MAX: usize = 208 * 1024;
/// What an empty datagram takes of it.
const OVERHEAD: usize = 64;
