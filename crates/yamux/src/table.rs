//! All streams of a session, and what they share.

use std::{collections::BTreeMap, time::Instant};

use std::collections::BTreeSet;

use peerkit_core::Direction;

use crate::{
    limits::{Growth, Pool},
    stream::{Owner, Stream},
};

/// Streams by their id on the wire. The counters follow from the streams and are kept
/// here so that nobody else has to.
#[derive(Debug)]
pub(crate) struct Table {
    streams: BTreeMap<u32, Box<Stream>>,
    inbound: usize,
    unacknowledged: usize,
    /// Streams that the application has let go of, by the time when it did.
    gone: BTreeSet<(Instant, u32)>,
    pub(crate) pools: Pools,
}

/// What the streams of a session share.
#[derive(Debug)]
pub(crate) struct Pools {
    /// Growth of receive windows, in bytes.
    pub(crate) growth: Growth,
    /// Slices of the input that may be kept.
    pub(crate) slices: Pool,
}

impl Table {
    pub(crate) fn new(growth: Growth) -> Self {
        Self {
            streams: BTreeMap::new(),
            inbound: 0,
            unacknowledged: 0,
            gone: BTreeSet::new(),
            pools: Pools {
                growth,
                slices: Pool::new(SLICES_MAX),
            },
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn inbound(&self) -> usize {
        self.inbound
    }

    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    pub(crate) fn gone(&self) -> usize {
        self.gone.len()
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.streams.contains_key(&id)
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(&id).map(Box::as_mut)
    }

    /// A stream together with what it shares with the others.
    pub(crate) fn with_pools(&mut self, id: u32) -> Option<(&mut Stream, &mut Pools)> {
        let stream = self.streams.get_mut(&id)?;
        Some((stream, &mut self.pools))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream)> {
        self.streams
            .iter_mut()
            .map(|(&id, stream)| (id, stream.as_mut()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values().map(Box::as_ref)
    }

    pub(crate) fn insert(&mut self, id: u32, stream: Stream) {
        match stream.direction {
            Direction::Inbound => self.inbound += 1,
            Direction::Outbound => self.unacknowledged += 1,
        }
        let before = self.streams.insert(id, Box::new(stream));
        assert!(before.is_none(), "ids are checked before they are used");
    }

    /// Takes a stream out; what it took from the pools is given back.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Box<Stream>> {
        let mut stream = self.streams.remove(&id)?;
        self.inbound -= usize::from(stream.direction == Direction::Inbound);
        self.unacknowledged -= usize::from(stream.unacknowledged);
        if let Owner::Gone { since } = stream.owner {
            self.gone.remove(&(since, id));
        }
        stream.received.clear(&mut self.pools.slices);
        self.pools.growth.give(stream.window.growth());
        Some(stream)
    }

    /// The remote has acknowledged a stream; false when it had done so before.
    pub(crate) fn acknowledge(&mut self, id: u32) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        let news = std::mem::take(&mut stream.unacknowledged);
        self.unacknowledged -= usize::from(news);
        news
    }

    /// The application has let go of a stream, which waits for the remote's end.
    pub(crate) fn let_go(&mut self, id: u32, now: Instant) {
        let stream = self.streams.get_mut(&id).expect("the caller has seen it");
        stream.owner = Owner::Gone { since: now };
        stream.received.clear(&mut self.pools.slices);
        self.gone.insert((now, id));
    }

    /// The stream that was let go of first, and when.
    pub(crate) fn first_gone(&self) -> Option<(Instant, u32)> {
        self.gone.first().copied()
    }
}

/// Slices of the input that all streams together may keep. Each may pin a chunk that is much larger
/// than itself, so beyond that number bytes are copied: readers that keep up never notice.
const SLICES_MAX: usize = 64;
