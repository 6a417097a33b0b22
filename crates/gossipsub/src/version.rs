//! The versions of the protocol.

use peerkit_core::ProtocolId;

/// A version of gossipsub, or floodsub, which the same router speaks with peers that know nothing newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `/floodsub/1.0.0`: every message goes to everybody, no control messages.
    Floodsub,
    /// `/meshsub/1.0.0`: mesh and gossip.
    V1_0,
    /// `/meshsub/1.1.0`: scores, backoff, peer exchange.
    V1_1,
    /// `/meshsub/1.2.0`: IDONTWANT.
    V1_2,
    /// `/meshsub/1.3.0`: extensions.
    V1_3,
}

impl Version {
    /// All of them, the newest first.
    pub const ALL: [Self; 5] = [
        Self::V1_3,
        Self::V1_2,
        Self::V1_1,
        Self::V1_0,
        Self::Floodsub,
    ];

    /// Its name on the wire. `None` if `prefix` makes no [`ProtocolId`].
    pub(crate) fn protocol(self, prefix: &str) -> Option<ProtocolId> {
        let number = match self {
            Self::Floodsub => return Some(FLOODSUB),
            Self::V1_0 => "1.0.0",
            Self::V1_1 => "1.1.0",
            Self::V1_2 => "1.2.0",
            Self::V1_3 => "1.3.0",
        };
        ProtocolId::try_from(format!("{prefix}/{number}")).ok()
    }

    /// Whether a peer can be in a mesh.
    pub(crate) fn has_mesh(self) -> bool {
        self >= Self::V1_0
    }

    /// Whether a PRUNE may carry backoff and peers.
    pub(crate) fn has_backoff(self) -> bool {
        self >= Self::V1_1
    }

    pub(crate) fn has_idontwant(self) -> bool {
        self >= Self::V1_2
    }

    pub(crate) fn has_extensions(self) -> bool {
        self >= Self::V1_3
    }
}

const FLOODSUB: ProtocolId = ProtocolId::from_static("/floodsub/1.0.0");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_replaced_for_the_mesh_protocols_only() {
        let names: Vec<_> = Version::ALL
            .iter()
            .map(|version| version.protocol("/eth2/meshsub").unwrap().to_string())
            .collect();
        assert_eq!(names[0], "/eth2/meshsub/1.3.0");
        assert_eq!(names[3], "/eth2/meshsub/1.0.0");
        assert_eq!(names[4], "/floodsub/1.0.0");
        assert_eq!(Version::V1_1.protocol("no slash"), None);
    }
}
