//! Networks of real gossipsub nodes, whose every message is followed to every node.
//!
//! A scenario describes a network ([`Setup`]), starts it ([`Network`]), adds whatever else is to happen through
//! `network.sim` (partitions, hosts of its own), plans messages ([`Publishing`]), lets time pass, and looks at what
//! has arrived when ([`Log`], [`Figures`]).

mod figures;
pub(crate) mod honest;
mod log;
mod network;
pub(crate) mod partition;

pub(crate) use figures::{Figures, Traffic};
pub(crate) use log::{Log, Message};
pub(crate) use network::{Network, Publishing, Setup, TOPIC, random_dials};
