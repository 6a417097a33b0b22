//! Scenarios of real nodes with real cryptography. Each is a function of a seed and panics when
//! something does not hold, so that the simulation prints the seed and what happened last.
//!
//! The tests run each of them with few seeds, the command `peerkit-sim` with many. An even seed
//! takes yamux, an odd one mplex.

pub(crate) mod cuts;
mod dials;
pub(crate) mod gossip;
pub(crate) mod gossip_attacks;
mod mesh;
mod node;
mod relay;
mod shutdown;
mod slow_readers;
pub(crate) mod throughput;
mod trial;

pub(crate) use trial::Outcome;

/// Something that happens to nodes, and what must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// As the command names it.
    pub(crate) name: &'static str,
    /// In one sentence.
    pub(crate) about: &'static str,
    /// Runs it with a seed.
    pub(crate) run: fn(u64) -> Outcome,
}

/// All that are run with many seeds.
pub(crate) const ALL: [Scenario; 11] = [
    Scenario {
        name: "dial-storm",
        about: "many nodes dial one at the same moment",
        run: dials::storm,
    },
    Scenario {
        name: "dial-many",
        about: "one node dials many at the same moment",
        run: dials::many,
    },
    Scenario {
        name: "dial-each-other",
        about: "two peers dial each other at the same moment, again and again",
        run: dials::each_other,
    },
    Scenario {
        name: "halves",
        about: "the network falls apart, in one direction or both, and heals",
        run: mesh::halves,
    },
    Scenario {
        name: "flapping",
        about: "links go down and up all the time",
        run: mesh::flapping,
    },
    Scenario {
        name: "restarts",
        about: "half of the nodes crash, are killed or paused, and come back",
        run: mesh::restarts,
    },
    Scenario {
        name: "idle",
        about: "connections without traffic stay for hours",
        run: mesh::idle,
    },
    Scenario {
        name: "slow-readers",
        about: "who does not read holds up nobody else and fills no memory",
        run: slow_readers::run,
    },
    Scenario {
        name: "cuts",
        about: "connections are cut at every byte of their set-up",
        run: cuts::share,
    },
    Scenario {
        name: "shutdown",
        about: "busy nodes are closed at any moment",
        run: shutdown::run,
    },
    Scenario {
        name: "gossip-halves",
        about: "forty gossipsub nodes fall into halves and publish to all others when they are whole again",
        run: gossip::partition::halves,
    },
];
