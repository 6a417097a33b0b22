//! The plaintext protocol of libp2p, for tests only.
