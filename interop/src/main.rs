//! Runs peerkit against other libp2p implementations.
fn main() {}
