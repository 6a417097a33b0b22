//! mplex: many streams on one channel, for networks that still use it.
//!
//! Every frame is `varint(stream << 3 | flag) || varint(length) || body`. Either side
//! opens streams under numbers of its own choice, so a stream's name on the
//! wire is its number together with who opened it. Closing ends one
//! direction of a stream, a reset ends both. There is no handshake, no keep-alive and no goodbye.
//!
//! **No flow control.** A sender can't know how much its remote is willing to hold, so a
//! receiver that must not grow has two choices: to stand still, or to
//! sacrifice a stream. This crate does the first for a while, then the second:
//!
//! ```text
//!            a stream or the connection holds too much unread
//!   Reading ----------------------------------------------------> Paused
//!           <----------------------------------------------------
//!            the application has read half of it
//!                                        no byte of it was read for `stall_timeout`:
//!                                        reset the stream that holds most
//! ```
//!
//! While paused, [`Session::wants_read`](peerkit_core::Session::wants_read) is false and
//! the driver leaves the remote's bytes in the socket, so that TCP slows the sender
//! down. A transfer of any size runs in a bounded memory, and one reader that
//! never reads holds up the others only for a time. The last resort, should a
//! driver go on reading, is a hard limit at which the stream that goes over it is reset.
//! Prefer yamux where both sides have it.
//!
//! [`Session`] is a pure machine; [`Mplex`] joins it with a channel as a
//! [`MuxerUpgrade`](peerkit_core::MuxerUpgrade).
//!
//! Specification: <https://github.com/libp2p/specs/blob/master/mplex/README.md>, deprecated since 2025.

mod budget;
mod codec;
mod config;
mod state;
mod stream;
mod unread;
mod upgrade;
mod writers;

pub use config::Config;
pub use state::Session;
pub use upgrade::{Mplex, PROTOCOL};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
