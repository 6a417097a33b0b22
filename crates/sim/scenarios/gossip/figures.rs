//! What a run has come to, in numbers.

use std::time::Duration;

use super::{Log, Network, TOPIC};

/// What has been sent so far, by all nodes together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) at: Duration,
    /// Everything that was handed to TCP: messages, gossip and control messages, in their encryption.
    pub(crate) bytes: u64,
    /// Copies of messages that were received.
    pub(crate) copies: u64,
    /// Copies that were not sent since their recipients had refused them.
    pub(crate) unwanted: u64,
    /// Refusals (IDONTWANT) that were sent.
    pub(crate) refusals: u64,
    /// Messages that were sent since somebody had asked for them.
    pub(crate) requested: u64,
    /// Things that were dropped for slow peers.
    pub(crate) dropped: u64,
}

impl Network {
    /// What has been sent so far.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut traffic = Traffic {
            at: self.sim.elapsed(),
            bytes: self.sim.stats().bytes,
            ..Traffic::default()
        };
        for gossip in self.all() {
            let topics = gossip.metrics().topics;
            traffic.copies += topics.iter().map(|(_, topic)| topic.received).sum::<u64>();
            let counts = gossip.with_router(|router, _| router.counts());
            traffic.unwanted += counts.unwanted;
            traffic.refusals += counts.idontwant_sent;
            traffic.requested += counts.iwant_served;
            traffic.dropped += counts.dropped;
        }
        traffic
    }

    /// The size of the mesh of each node that is up.
    pub(crate) fn mesh_sizes(&self) -> Vec<usize> {
        let all = self.all().into_iter();
        all.map(|gossip| gossip.mesh_peers(TOPIC).len()).collect()
    }
}

/// What has become of all messages of a run.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Messages.
    pub(crate) messages: usize,
    /// Arrivals that there should be: each message everywhere but where it comes from.
    pub(crate) expected: usize,
    /// Microseconds until each of them was there, from the shortest to the longest; as many as there were.
    pub(crate) latencies: Vec<u32>,
    /// Arrivals that should not be: twice, or of what nobody has sent; and what was not read in time.
    pub(crate) wrong: u64,
}

impl Figures {
    /// Of the messages that `counts` is true for, at the nodes from 0 to `nodes`.
    pub(crate) fn of(log: &Log, nodes: usize, counts: impl Fn(&super::Message) -> bool) -> Self {
        let messages: Vec<_> = log.messages.iter().filter(|it| counts(it)).collect();
        let mut latencies = Vec::with_capacity(messages.len() * nodes);
        for message in &messages {
            let known = (0..nodes).filter_map(|node| message.latency(node));
            latencies.extend(known.map(|it| u32::try_from(it.as_micros()).unwrap_or(u32::MAX)));
        }
        latencies.sort_unstable();
        Self {
            messages: messages.len(),
            expected: messages.len() * nodes.saturating_sub(1),
            latencies,
            wrong: log.wrong + log.lagged,
        }
    }

    /// Whether every message is everywhere, once.
    pub(crate) fn is_complete(&self) -> bool {
        self.latencies.len() == self.expected && self.wrong == 0
    }

    /// The share of arrivals that have come, from 0 to 1.
    pub(crate) fn delivered(&self) -> f64 {
        self.latencies.len() as f64 / self.expected.max(1) as f64
    }

    /// How long this share of all arrivals took at the most.
    pub(crate) fn latency(&self, share: f64) -> Option<Duration> {
        let place = (self.latencies.len() as f64 * share).ceil() as usize;
        let micros = self.latencies.get(place.saturating_sub(1))?;
        Some(Duration::from_micros(u64::from(*micros)))
    }
}
