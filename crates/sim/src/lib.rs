#![doc = include_str!("../README.md")]
//! # The model
//!
//! A [`Sim`] holds hosts, the links between them and a queue of what is to happen. Its loop polls
//! the tasks that were woken, in the order in which they were woken, until all of them wait; then
//! the clock jumps to the next timer or packet. Computing takes no time. There is one thread, no
//! wall clock, and every random draw comes from the seed.
//!
//! Each host has a [`SimRuntime`], which is all that a node takes from its surroundings. The same
//! code runs here and on a machine.
//!
//! TCP is modelled by what programs see of it: round trips, order, half-close, resets, windows and
//! what happens to a connection when nothing gets through. There is no congestion control: a
//! stream uses what the link and the window have room for.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../../docs/simulation.md")]
mod guide {}

mod boxes;
mod descriptors;
mod executor;
mod faults;
mod host;
mod link;
mod nat;
mod passage;
mod ports;
mod queue;
mod runtime;
mod seeds;
mod setup;
mod sim;
mod socket;
mod stats;
mod storage;
mod table;
mod tcp;
mod trace;
mod udp;
mod world;

pub use boxes::NatId;
pub use host::{HostId, Node};
pub use link::LinkConfig;
pub use nat::{NatBehavior, NatConfig, NatStats, PortAllocation, Unsolicited};
pub use runtime::SimRuntime;
pub use seeds::seeds;
pub use setup::LinkSetup;
pub use sim::Sim;
pub use stats::{ConnectionStats, LinkStats, Stats};
pub use storage::Storage;
