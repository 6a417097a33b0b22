//! The Noise security protocol of libp2p.
