//! The protocols that this program brings along.

pub(crate) mod delivery;
pub(crate) mod echo;
pub(crate) mod perf;
