//! Links between hosts.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use rand::{Rng, rngs::StdRng};

use crate::{HostId, LinkStats, trace::mix};

/// How one direction of a link behaves.
///
/// By default: 10 ms, no jitter, no limit of bandwidth, nothing lost.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LinkConfig {
    /// How long a packet is under way, once it has left.
    pub latency: Duration,
    /// The most by which a packet is later than that; drawn evenly. Streams stay in order, datagrams do not.
    pub jitter: Duration,
    /// Bits per second. Packets leave one after the other, each after its last bit.
    pub bandwidth: Option<u64>,
    /// Bytes that may wait to leave. Streams wait until there is room, datagrams are lost. 1 MiB by default.
    pub queue: usize,
    /// The share of datagrams that is lost, from 0 to 1.
    pub loss: f64,
    /// The share of datagrams that arrives twice, from 0 to 1.
    pub duplication: f64,
    /// The share of datagrams that arrives later than those sent after it, from 0 to 1.
    pub reordering: f64,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            bandwidth: None,
            queue: 1024 * 1024,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
        }
    }
}

impl LinkConfig {
    /// A host to itself.
    fn loopback() -> Self {
        Self {
            latency: Duration::from_micros(20),
            ..Self::default()
        }
    }

    /// The time that `bytes` need to leave, in nanoseconds.
    fn sending_time(&self, bytes: usize) -> u64 {
        self.bandwidth
            .map_or(0, |bandwidth| sending_time(bytes, bandwidth))
    }

    /// Bytes of a stream that travel together: what leaves in a millisecond.
    fn segment_len(&self) -> usize {
        let Some(bandwidth) = self.bandwidth else {
            return SEGMENT_MAX;
        };
        let per_millisecond = usize::try_from(bandwidth / 8000).unwrap_or(SEGMENT_MAX);
        per_millisecond.clamp(SEGMENT_MIN, SEGMENT_MAX)
    }
}

/// One direction between two hosts.
#[derive(Default)]
struct Link {
    /// Another behaviour than the default one.
    config: Option<LinkConfig>,
    /// When the last packet so far will have left.
    busy_until: u64,
    wait_peak: u64,
    stats: LinkStats,
}

/// What all links of a host share on its side.
struct Uplink {
    bandwidth: u64,
    /// When the last packet so far will have left.
    busy_until: u64,
}

/// Packets of these do not get to those.
struct Cut {
    id: u64,
    from: BTreeSet<HostId>,
    to: BTreeSet<HostId>,
}

/// Hashes a pair of hosts, the same way in every run.
#[derive(Default)]
struct HostHasher(u64);

impl Hasher for HostHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0, u64::from(*byte));
        }
    }

    fn write_u32(&mut self, host: u32) {
        self.0 = mix(self.0, u64::from(host));
    }
}

/// All links.
pub(crate) struct Links {
    default: LinkConfig,
    loopback: LinkConfig,
    links: HashMap<(HostId, HostId), Link, BuildHasherDefault<HostHasher>>,
    uplinks: HashMap<HostId, Uplink, BuildHasherDefault<HostHasher>>,
    cuts: Vec<Cut>,
    cuts_made: u64,
}

/// Room in the queue of a link.
pub(crate) enum Room {
    /// So many bytes may be sent now, in segments of so many.
    Bytes { room: usize, segment: usize },
    /// There is room at this time.
    At(u64),
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            default: LinkConfig::default(),
            loopback: LinkConfig::loopback(),
            links: HashMap::default(),
            uplinks: HashMap::default(),
            cuts: Vec::new(),
            cuts_made: 0,
        }
    }

    pub(crate) fn config(&self, from: HostId, to: HostId) -> &LinkConfig {
        let link = self.links.get(&(from, to));
        let unset = if from == to {
            &self.loopback
        } else {
            &self.default
        };
        link.and_then(|link| link.config.as_ref()).unwrap_or(unset)
    }

    pub(crate) fn default_mut(&mut self) -> &mut LinkConfig {
        &mut self.default
    }

    pub(crate) fn config_mut(&mut self, from: HostId, to: HostId) -> &mut LinkConfig {
        let unset = self.config(from, to).clone();
        let link = self.links.entry((from, to)).or_default();
        link.config.get_or_insert(unset)
    }

    pub(crate) fn set_uplink(&mut self, host: HostId, bandwidth: u64) {
        let uplink = self.uplinks.entry(host).or_insert(Uplink {
            bandwidth,
            busy_until: 0,
        });
        uplink.bandwidth = bandwidth;
    }

    pub(crate) fn stats(&self, from: HostId, to: HostId) -> LinkStats {
        let link = self.links.get(&(from, to));
        link.map_or_else(LinkStats::default, |link| LinkStats {
            wait_peak: Duration::from_nanos(link.wait_peak),
            ..link.stats
        })
    }

    /// Cuts these from those; returns by what to mend it.
    pub(crate) fn cut(&mut self, from: &[HostId], to: &[HostId]) -> u64 {
        self.cuts_made += 1;
        self.cuts.push(Cut {
            id: self.cuts_made,
            from: from.iter().copied().collect(),
            to: to.iter().copied().collect(),
        });
        self.cuts_made
    }

    /// Ends one cut, if it was not ended yet.
    pub(crate) fn mend(&mut self, cut: u64) {
        self.cuts.retain(|known| known.id != cut);
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Whether packets get through. A host always reaches itself.
    pub(crate) fn is_up(&self, from: HostId, to: HostId) -> bool {
        let cut = |cut: &Cut| cut.from.contains(&from) && cut.to.contains(&to);
        from == to || !self.cuts.iter().any(cut)
    }

    /// What a stream may send now.
    pub(crate) fn room(&self, from: HostId, to: HostId, now: u64) -> Room {
        let config = self.config(from, to);
        let segment = config.segment_len();
        if config.bandwidth.is_none() {
            return Room::Bytes {
                room: usize::MAX,
                segment,
            };
        }
        let busy_until = self
            .links
            .get(&(from, to))
            .map_or(0, |link| link.busy_until);
        let queued = busy_until.saturating_sub(now);
        let longest = config.sending_time(config.queue.max(1));
        if queued >= longest {
            return Room::At(now + (queued - longest / 2).max(1));
        }
        let share = u128::from(longest - queued) * config.queue.max(1) as u128;
        let room = usize::try_from(share / u128::from(longest.max(1))).unwrap_or(usize::MAX);
        Room::Bytes {
            room: room.max(1),
            segment,
        }
    }

    /// Whether a datagram finds no room.
    pub(crate) fn is_full(&self, from: HostId, to: HostId, now: u64) -> bool {
        matches!(self.room(from, to, now), Room::At(_))
    }

    /// Puts a packet on a link; returns when it arrives.
    pub(crate) fn send(
        &mut self,
        (from, to): (HostId, HostId),
        bytes: usize,
        now: u64,
        rng: &mut StdRng,
    ) -> u64 {
        let config = self.config(from, to);
        let (sending, latency) = (config.sending_time(bytes), nanos(config.latency));
        let late = below(rng, nanos(config.jitter));
        let link = self.links.entry((from, to)).or_default();
        link.busy_until = link.busy_until.max(now).saturating_add(sending);
        if let Some(uplink) = self.uplinks.get_mut(&from).filter(|_| from != to) {
            let sending = sending_time(bytes, uplink.bandwidth);
            uplink.busy_until = uplink.busy_until.max(now).saturating_add(sending);
            link.busy_until = link.busy_until.max(uplink.busy_until);
        }
        link.wait_peak = link.wait_peak.max(link.busy_until - now);
        link.stats.packets += 1;
        link.stats.bytes += bytes as u64;
        link.busy_until.saturating_add(latency).saturating_add(late)
    }

    pub(crate) fn lose(&mut self, from: HostId, to: HostId) {
        self.links.entry((from, to)).or_default().stats.lost += 1;
    }
}

/// The time that `bytes` need at so many bits per second, in nanoseconds.
fn sending_time(bytes: usize, bandwidth: u64) -> u64 {
    let bits = bytes as u128 * 8 * 1_000_000_000;
    u64::try_from(bits.div_ceil(u128::from(bandwidth.max(1)))).unwrap_or(u64::MAX)
}

/// Draws from nothing to `limit`; takes no randomness for nothing.
pub(crate) fn below(rng: &mut StdRng, limit: u64) -> u64 {
    if limit == 0 {
        return 0;
    }
    let scaled = u128::from(rng.next_u64()) * (u128::from(limit) + 1);
    (scaled >> 64) as u64
}

/// Whether something happens that happens with this probability.
pub(crate) fn chance(rng: &mut StdRng, share: f64) -> bool {
    share > 0.0 && ((rng.next_u64() >> 11) as f64) < share * (1u64 << 53) as f64
}

/// A duration that a simulation can hold: up to 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const SEGMENT_MIN: usize = 1460;
const SEGMENT_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn all_links_of_a_host_share_its_uplink() {
        let mut links = Links::new();
        links.default_mut().latency = Duration::ZERO;
        let [one, two, three] = [0, 1, 2].map(HostId);
        links.set_uplink(one, 8_000);
        let mut rng = StdRng::seed_from_u64(1);
        let mut send = |path| links.send(path, 1000, 0, &mut rng);
        let second = 1_000_000_000;
        assert_eq!(send((one, two)), second);
        assert_eq!(send((one, three)), 2 * second);
        assert_eq!(send((two, one)), 0);
        assert!(send((one, one)) < second, "it reaches itself without it");
    }
}
