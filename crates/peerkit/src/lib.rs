//! A modular libp2p stack: a working node in five lines.
