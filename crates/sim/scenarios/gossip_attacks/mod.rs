//! The attacks of the gossipsub hardening paper (arXiv 2007.02754) on networks of real nodes.
//!
//! Every attacker is a host of its own with an address of its own and an honest identity, so that neither the limits of
//! connections nor the count of peers at one address (P6) tell it from others: what is tested is what
//! scores make of its deeds. Meshes, gossip, limits, queues and signatures are as by default.

mod attacks;
mod band;
mod scores;
mod siege;
mod sybil;

#[allow(
    unused_imports,
    reason = "not everything that includes the scenarios runs attacks"
)]
pub(crate) use self::{
    attacks::{ALL, Attack},
    scores::Scores,
    siege::{Size, Verdict, run},
};
