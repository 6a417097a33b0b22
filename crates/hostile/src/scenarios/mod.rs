//! The scenarios, one table for each layer.

pub mod faults;
pub mod floodsub;
pub mod gossipsub;
pub mod identify;
pub mod identity;
pub mod mplex;
pub mod multistream;
pub mod noise;
pub mod ping;
pub mod swarm;
pub mod upgrade;
pub mod yamux;

use crate::scenario::Scenario;

/// All of them.
pub fn all() -> Vec<Scenario> {
    let tables = [
        upgrade::table(),
        multistream::table(),
        noise::table(),
        identity::table(),
        mplex::table(),
        yamux::table(),
        swarm::table(),
        identify::table(),
        ping::table(),
        floodsub::table(),
        gossipsub::table(),
        faults::table(),
    ];
    tables.into_iter().flatten().collect()
}
