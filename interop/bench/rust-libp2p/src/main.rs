//! rust-libp2p as a benchmark peer.

#![forbid(unsafe_code)]

mod node;
mod streams;

use anyhow::Result;
use bench_kit::Info;

fn main() -> Result<()> {
    bench_kit::run::<node::Libp2p>(Info {
        name: "rust-libp2p",
        version: "0.57.1",
        stacks: &["tokio-noise-yamux", "tokio-noise-mplex"],
        gossip: true,
    })
}
