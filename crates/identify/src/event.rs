//! What happens to the knowledge of peers.

use std::sync::Arc;

use peerkit_core::PeerId;
use peerkit_swarm::{BusEvent, EventStream};

use crate::{IdentifyError, Info};

/// Something was learned of a peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum IdentifyEvent {
    /// A peer has answered who it is.
    Identified {
        /// The peer.
        peer: PeerId,
        /// What it says of itself.
        info: Arc<Info>,
    },
    /// A peer has told of a change.
    Pushed {
        /// The peer.
        peer: PeerId,
        /// What is known of it now.
        info: Arc<Info>,
    },
    /// A peer could not be identified, or its push could not be used.
    Failed {
        /// The peer.
        peer: PeerId,
        /// Why.
        error: Arc<IdentifyError>,
    },
    /// The reader was too slow: so many events were dropped before this one.
    Lagged {
        /// How many.
        missed: u64,
    },
}

impl BusEvent for IdentifyEvent {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }
}

/// What is learned of peers, from the moment of [`Identify::events`](crate::Identify::events) on. It
/// ends when the node is closed; who reads too slowly is told by [`IdentifyEvent::Lagged`].
pub type IdentifyEvents = EventStream<IdentifyEvent>;
