//! What the fuzzer of peerkit runs, as ordinary functions: one for each decoder and each state machine.
//!
//! Each function takes any bytes and panics when a promise is broken: a panic below, memory beyond a limit, a
//! meaning that depends on how bytes were cut, a forgery that passes, data that is lost or mixed up. The fuzzer in
//! `fuzz/` searches for such bytes; `cargo test` replays what was found and kept in `fuzz/corpus`.

mod addresses;
mod floodsub;
mod gossipsub;
mod identity;
mod input;
mod io;
mod keys;
mod multistream;
mod muxers;
mod oracle;
mod pairs;
mod pubsub;
mod security;

pub use addresses::{dial_plan, ip_network, multiaddr};
pub use floodsub::floodsub_router;
pub use gossipsub::{gossipsub_router, gossipsub_wire};
pub use identity::identify;
pub use keys::{envelope, peer_id, peer_record, private_key, public_key};
pub use multistream::{
    multistream_dialer, multistream_listener, multistream_listing, multistream_pair,
};
pub use muxers::{mplex_frames, mplex_session, yamux_frames, yamux_session};
pub use pairs::{mplex_pair, yamux_pair};
pub use pubsub::{pubsub_frames, pubsub_rpc, pubsub_signatures, seen_cache};
pub use security::{noise_framing, noise_handshake, noise_payload, noise_records, plaintext};

/// A target of the fuzzer.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the function, of the program in `fuzz/fuzz_targets`, and of the folder in `fuzz/corpus`.
    pub name: &'static str,
    /// What it does with the bytes.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// All targets, in the order of the layers.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name }),*];
    };
}

targets![
    multistream_dialer,
    multistream_listener,
    multistream_listing,
    multistream_pair,
    noise_handshake,
    noise_payload,
    noise_framing,
    noise_records,
    plaintext,
    yamux_frames,
    yamux_session,
    yamux_pair,
    mplex_frames,
    mplex_session,
    mplex_pair,
    public_key,
    private_key,
    peer_id,
    envelope,
    peer_record,
    identify,
    multiaddr,
    ip_network,
    dial_plan,
    pubsub_frames,
    pubsub_rpc,
    pubsub_signatures,
    seen_cache,
    floodsub_router,
    gossipsub_router,
    gossipsub_wire,
];

/// The beginning of virtual time, always the same in one run.
fn clock() -> std::time::Instant {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(now);
    *START
}

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
