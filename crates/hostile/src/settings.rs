//! The settings of a victim: the defaults, and what a scenario changes to see its criterion fail.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use peerkit::{
    HostConfig, core::DriverConfig, gossipsub::GossipsubConfig, pubsub::ReplayProtection,
    swarm::PrefixLimit, upgrade::UpgradeConfig,
};

/// Everything that can be set; the defaults of all layers.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Host and its limits.
    pub host: HostConfig,
    /// Security and muxer.
    pub upgrade: UpgradeConfig,
    /// The task of a connection.
    pub driver: DriverConfig,
    /// yamux.
    pub yamux: peerkit::yamux::Config,
    /// mplex.
    pub mplex: peerkit::mplex::Config,
    /// Ping.
    pub ping: peerkit::ping::Config,
    /// Identify.
    pub identify: peerkit::identify::Config,
    /// Gossipsub.
    pub gossipsub: GossipsubConfig,
    /// Floodsub, which is spoken in place of gossipsub if `router=floodsub`.
    pub floodsub: peerkit::floodsub::FloodsubConfig,
    /// Which router there is.
    pub router: RouterKind,
}

/// Which router a victim has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterKind {
    /// Gossipsub, which speaks floodsub as well.
    #[default]
    Gossipsub,
    /// Floodsub alone.
    Floodsub,
}

impl Settings {
    /// The defaults with some changes of the form `name=value`.
    pub fn changed<'a>(changes: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut settings = Self::default();
        for change in changes {
            let (name, value) = change.split_once('=').context("a change is name=value")?;
            settings.set(name, value)?;
        }
        Ok(settings)
    }

    /// Sets one by its name in `docs/limits.md`. Durations are in milliseconds; `max` is as much as there can be.
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        if let Some(name) = name.strip_prefix("limits.") {
            return self.set_limit(name, value);
        }
        if name == "router" {
            self.router = RouterKind::Floodsub;
            return Ok(());
        }
        let number = number(value)?;
        let small = u32::try_from(number).unwrap_or(u32::MAX);
        let time = Duration::from_millis(number as u64);
        match name {
            "upgrade.timeout" => self.upgrade.timeout = time,
            "negotiation_timeout" => self.host.negotiation_timeout = time,
            "event_capacity" => self.host.event_capacity = number,
            "dial.concurrent_max" => self.host.dial.concurrent_max = number,
            "dial.concurrent_per_peer_max" => self.host.dial.concurrent_per_peer_max = number,
            "dial.addresses_max" => self.host.dial.addresses_max = number,
            "trim.high_watermark" => self.host.trim.high_watermark = number.into(),
            "trim.low_watermark" => self.host.trim.low_watermark = number.into(),
            "trim.grace_period" => self.host.trim.grace_period = time,
            "trim.interval" => self.host.trim.interval = time,
            "driver.write_timeout" => self.driver.write_timeout = time,
            "driver.write_min" => self.driver.write_min = number,
            "driver.confirm_timeout" => self.driver.confirm_timeout = time,
            "driver.unread_answers_max" => self.driver.unread_answers_max = number,
            "yamux.rapid_resets" => self.yamux.rapid_resets.count = small,
            "yamux.empty_frames" => self.yamux.empty_frames.count = small,
            "yamux.pings" => self.yamux.pings.count = small,
            "yamux.unsent_pongs_max" => self.yamux.unsent_pongs_max = number,
            "yamux.inbound_streams_max" => self.yamux.inbound_streams_max = number,
            "yamux.streams_max" => self.yamux.streams_max = number,
            "yamux.transmit_buffer_max" => self.yamux.transmit_buffer_max = number,
            "yamux.window_growth_max" => self.yamux.window_growth_max = number,
            "yamux.window_growth_own" => self.yamux.window_growth_own = number,
            "yamux.window_growth_shared_max" => self.yamux.window_growth_shared_max = number,
            "yamux.keep_alive_interval" => self.yamux.keep_alive_interval = time,
            "yamux.keep_alive_timeout" => self.yamux.keep_alive_timeout = time,
            "mplex.inbound_streams_max" => self.mplex.inbound_streams_max = number,
            "mplex.rapid_reset_burst" => self.mplex.rapid_reset_burst = small,
            "mplex.rapid_reset_per_second" => self.mplex.rapid_reset_per_second = small,
            "mplex.unread_stream_pause" => self.mplex.unread_stream_pause = number,
            "mplex.unread_pause" => self.mplex.unread_pause = number,
            "mplex.unread_max" => self.mplex.unread_max = number,
            "mplex.stall_timeout" => self.mplex.stall_timeout = time,
            "ping.streams_per_peer_max" => self.ping.streams_per_peer_max = number,
            "ping.burst" => self.ping.burst = small,
            "ping.answers_per_second" => self.ping.answers_per_second = small,
            "ping.idle_timeout" => self.ping.idle_timeout = time,
            "identify.timeout" => self.identify.timeout = time,
            "identify.push_burst" => self.identify.push_burst = small,
            "identify.push_interval" => self.identify.push_interval = time,
            "identify.push_debounce" => self.identify.push_debounce = time,
            "identify.observers_min" => self.identify.observers_min = number,
            "identify.streams_per_peer_max" => self.identify.streams_per_peer_max = number,
            "pubsub.frame_timeout" => {
                self.gossipsub.pubsub.frame_timeout = time;
                self.floodsub.pubsub.frame_timeout = time;
            }
            "pubsub.write_timeout" => self.gossipsub.pubsub.write_timeout = time,
            "pubsub.forwarded_bytes_max" => {
                self.gossipsub.pubsub.queue.forwarded_bytes_max = number;
                self.gossipsub.pubsub.queue.forwarded_messages_max = number;
            }
            "pubsub.frame_len_max" => {
                self.gossipsub.pubsub.limits.frame_len_max = number;
                self.floodsub.pubsub.limits.frame_len_max = number;
            }
            "pubsub.ids_max" => self.gossipsub.pubsub.limits.ids_max = number,
            "pubsub.subscriptions_max" => {
                self.gossipsub.pubsub.limits.subscriptions_max = number;
                self.floodsub.pubsub.limits.subscriptions_max = number;
            }
            "pubsub.inbound_streams_per_peer_max" => {
                self.gossipsub.pubsub.inbound_streams_per_peer_max = number;
            }
            "gossipsub.peer_topics_max" => {
                self.gossipsub.router.peer_topics_max = number;
                self.gossipsub.router.rpc_subscriptions_max = number;
                self.gossipsub.pubsub.limits.subscriptions_max = number;
            }
            "gossipsub.ihave_ids_max" => {
                self.gossipsub.router.ihave_ids_max = number;
                self.gossipsub.router.ihave_messages_max = number;
                self.gossipsub.pubsub.limits.ids_max = number;
            }
            "gossipsub.idontwant_ids_max" => {
                self.gossipsub.router.idontwant_ids_max = number;
                self.gossipsub.router.idontwant_messages_max = number;
                self.gossipsub.pubsub.limits.ids_max = number;
            }
            "gossipsub.backoff_max" => self.gossipsub.router.backoff_max = time,
            "gossipsub.seen_ttl" => {
                self.gossipsub.router.seen_ttl = time;
                self.floodsub.seen_ttl = time;
            }
            "pubsub.replay" => {
                let authors_max = number;
                self.gossipsub.pubsub.replay = ReplayProtection::HighestSeqno { authors_max };
            }
            "gossipsub.score" => self.gossipsub.router.score = None,
            "gossipsub.iwant_retransmissions_max" => {
                self.gossipsub.router.iwant_retransmissions_max = u8::MAX;
                self.gossipsub.router.iwant_messages_max = number;
                self.gossipsub.router.score = None;
            }
            "floodsub.topics_per_peer_max" => {
                self.floodsub.topics_per_peer_max = number;
                self.floodsub.pubsub.limits.subscriptions_max = number;
            }
            "floodsub.seen_max" => self.floodsub.seen_max = number,
            _ => bail!("there is no setting {name:?}"),
        }
        Ok(())
    }

    fn set_limit(&mut self, name: &str, value: &str) -> Result<()> {
        let limits = &mut self.host.limits;
        let number = number(value)?;
        match name {
            "inbound_upgrades_max" => limits.inbound_upgrades_max = number,
            "inbound_upgrades_per_ip_max" => limits.inbound_upgrades_per_ip_max = number,
            "descriptors_max" => limits.descriptors_max = number.into(),
            "inbound_connections_max" => limits.inbound_connections_max = number.into(),
            "connections_max" => limits.connections_max = number.into(),
            "connections_per_peer_max" => limits.connections_per_peer_max = number,
            "connections_per_ip" => {
                limits.inbound_connections_per_ip4 = vec![PrefixLimit {
                    prefix_len: 32,
                    connections_max: number,
                }];
            }
            "inbound_rate_burst" => limits.inbound_rate_per_ip.burst = number as u32,
            "strangers" => {
                // Only 127.0.0.1 is trusted, so that the rest of loopback is counted like strangers.
                limits.trusted_networks = vec!["127.0.0.1/32".parse()?];
            }
            "memory_max" => limits.memory_max = number.into(),
            "memory_per_peer_max" => limits.memory_per_peer_max = number.into(),
            "streams_per_peer_max" => {
                limits.streams_per_peer_max = number;
                limits.streams_per_connection_max = number;
                limits.memory_per_connection_max = usize::MAX;
                limits.memory_per_peer_max = usize::MAX.into();
            }
            "inbound_streams_per_peer_max" => limits.inbound_streams_per_peer_max = number,
            "inbound_negotiations_max" => limits.inbound_negotiations_max = number,
            "handlers_per_protocol_and_peer_max" => {
                limits.handlers_per_protocol_and_peer_max = number;
            }
            "known_addresses_max" => limits.known_addresses_max = number,
            "known_peers_max" => limits.known_peers_max = number,
            _ => bail!("there is no limit {name:?}"),
        }
        Ok(())
    }
}

fn number(value: &str) -> Result<usize> {
    if value == "max" {
        return Ok(usize::MAX);
    }
    value
        .parse()
        .with_context(|| format!("{value:?} is no number"))
}
