//! Links, as a scenario sets them up.

use std::{sync::Arc, time::Duration};

use crate::{HostId, LinkConfig, world::Shared};

/// Sets up links; what is not named stays as it is. Changes apply to what is sent from now on.
#[derive(Debug)]
pub struct LinkSetup {
    shared: Arc<Shared>,
    /// In the order of their settings; none stands for all links that were not set up one by one.
    directions: Vec<(HostId, HostId)>,
}

impl LinkSetup {
    pub(crate) fn new(shared: &Arc<Shared>, directions: Vec<(HostId, HostId)>) -> Self {
        Self {
            shared: shared.clone(),
            directions,
        }
    }

    /// How long a packet is under way.
    pub fn latency(self, latency: Duration) -> Self {
        self.change(|link| link.latency = latency)
    }

    /// The most by which a packet is later than that.
    pub fn jitter(self, jitter: Duration) -> Self {
        self.change(|link| link.jitter = jitter)
    }

    /// Bits per second, in each direction.
    pub fn bandwidth(self, bits_per_second: u64) -> Self {
        self.change(|link| link.bandwidth = Some(bits_per_second))
    }

    /// Bytes that may wait to leave.
    pub fn queue(self, bytes: usize) -> Self {
        self.change(|link| link.queue = bytes)
    }

    /// The share of datagrams that is lost. Streams lose nothing; they wait.
    pub fn loss(self, share: f64) -> Self {
        self.change(|link| link.loss = share)
    }

    /// The share of datagrams that arrives twice.
    pub fn duplication(self, share: f64) -> Self {
        self.change(|link| link.duplication = share)
    }

    /// The share of datagrams that is overtaken by later ones.
    pub fn reordering(self, share: f64) -> Self {
        self.change(|link| link.reordering = share)
    }

    /// Replaces everything.
    pub fn config(self, config: &LinkConfig) -> Self {
        self.change(|link| *link = config.clone())
    }

    fn change(self, change: impl Fn(&mut LinkConfig)) -> Self {
        self.shared.with(|world| {
            if self.directions.is_empty() {
                change(world.links.default_mut());
            }
            for (from, to) in &self.directions {
                change(world.links.config_mut(*from, *to));
            }
        });
        self
    }
}
