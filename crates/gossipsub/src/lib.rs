//! gossipsub 1.0 to 1.3, and floodsub with peers that know nothing newer.
//!
//! Every node keeps, for each topic that it has joined, a *mesh* of a few peers to which it forwards whole
//! messages at once, and tells some of the others once a second which messages it has (*gossip*), so that
//! they can ask for what they miss. The mesh makes it fast, gossip makes it whole.
//!
//! ```text
//!                 GRAFT sent or accepted
//!    topic peer -------------------------> mesh member
//!         ^      <-------------------------     |
//!         |        PRUNE sent or received       | each message, at once
//!         |                |                    v
//!         | backoff over   v               Validate -> Accept -> Deliver, forwarded
//!         +----------- in backoff                  \-> Reject -> P4
//!                                                   \-> Ignore
//! ```
//!
//! Each peer has a [`Score`], from what it delivers and how it behaves. Below certain [`Thresholds`] it loses its
//! place in the mesh, then gossip, then this node's own messages, then every hearing.
//!
//! [`GossipsubRouter`] is the machine that decides all this: it implements [`peerkit_pubsub::Router`]
//! and has no clock, no I/O and no randomness of its own. Whatever strangers choose (ids, topics) is kept
//! under keyed hashes or in ordered maps, within the limits of [`Config`].
//!
//! Specification: <https://github.com/libp2p/specs/tree/master/pubsub/gossipsub>, versions 1.0 to 1.3.

mod config;
mod control;
mod error;
mod gossip;
mod gossipsub;
mod heartbeat;
mod history;
mod idontwant;
mod keys;
mod mesh;
mod params;
#[cfg(feature = "partial-messages")]
mod partial;
mod peers;
mod promises;
mod publish;
mod px;
mod receive;
mod router;
mod score;
mod seen;
#[cfg(test)]
mod testing;
mod topics;
mod version;
mod view;

pub use config::{Config, PeerExchange, TopicFilter};
pub use error::ConfigError;
pub use gossipsub::{Gossipsub, GossipsubConfig, GossipsubError, RouterMetrics};
pub use params::{IpRange, ScoreParams, Thresholds, TopicScoreParams};
#[cfg(feature = "partial-messages")]
pub use partial::{PartialConfig, PartialMessage, PartialMode, PartialRefused, Parts};
pub use router::GossipsubRouter;
pub use version::Version;
pub use view::{Counts, Score, Sizes, TopicCounts, TopicTerms};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
