//! The scenarios, one table for each layer.

pub mod mplex;
pub mod upgrade;
pub mod yamux;

use crate::scenario::Scenario;

/// All of them.
pub fn all() -> Vec<Scenario> {
    [upgrade::table(), mplex::table(), yamux::table()]
        .into_iter()
        .flatten()
        .collect()
}
