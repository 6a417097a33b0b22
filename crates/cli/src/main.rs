//! The peerkit command line.
fn main() {}
