//! The attacks of the gossipsub hardening paper (arXiv 2007.02754) on networks of real nodes.

mod attacks;
mod band;
mod scores;
mod siege;
mod sybil;

pub(crate) use attacks::{ALL, Attack};
pub(crate) use scores::Scores;
pub(crate) use siege::{Size, Verdict, run};
