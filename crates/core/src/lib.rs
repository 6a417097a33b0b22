//! The seams of peerkit: the few object-safe traits that transports, security
//! channels, muxers and runtimes implement, and the types that pass between them.
//!
//! ```text
//! Runtime     clock, timers, tasks, sockets; chosen by value
//! Transport   addresses in, finished connections out
//!   Io          a byte pipe, for example a TCP socket
//!   Wire        an Io with the bytes already read and not yet written
//!   SecurityUpgrade: Wire -> Channel      (who is there, and the record cipher)
//!   MuxerUpgrade:    Channel -> Connection (streams)
//! Connection  opens and accepts streams; a task drives it
//! MuxedStream one stream: read, write, half-close, reset
//! ```
//!
//! **Bytes between security and muxer.** A [`Channel`] is a [`Wire`] and a
//! [`Records`] cipher. The muxer writes its frames straight into a [`Transmit`]
//! buffer that leaves room for record headers and tags; the connection's task
//! seals that buffer in place and writes it to the socket. On the way in, a
//! record is decrypted where it was read and handed on as a reference-counted
//! slice. A layer that has no records ([`PlainRecords`]) passes through the same path.
//!
//! **Muxers without I/O.** A muxer implements [`Session`], a machine without
//! clock, sockets, locks and tasks. [`SessionConnection`] is the one place that
//! connects such a machine with a task, wakers and a channel. A muxer that does
//! its own I/O implements [`Connection`] directly.
//!
//! The identity and address types are those of the Rust libp2p ecosystem:
//! [`PeerId`], [`Keypair`], [`PublicKey`] and [`Multiaddr`].

mod channel;
mod connection;
mod driver;
mod envelope;
mod error;
mod io;
mod keys;
mod machine;
mod muxer;
mod peer_id;
mod peer_record;
mod protocol;
mod public_key;
mod records;
mod rsa;
mod runtime;
mod security;
mod sync;
mod task;
mod transport;

pub use libp2p_identity::{KeyType, Keypair, PeerId, PublicKey};
pub use multiaddr::{self, Multiaddr};

pub use channel::{Channel, ChannelParts, Preamble};
pub use connection::{
    Connection, ConnectionInfo, Direction, MuxedStream, NewConnection, ResetCode, Role,
};
pub use driver::{DriverConfig, SessionConnection};
pub use envelope::{Envelope, EnvelopeError, Verified};
pub use error::{
    ConnectionError, Fault, ListenError, NegotiationError, SecurityError, Stage, StreamError,
    TransportError, UpgradeError,
};
pub use io::{Io, Wire, WireParts};
pub use keys::{
    Existing, KeyError, KeyFileError, MAX_KEY_LEN, load_keypair, read_key_file, save_keypair,
    write_encoded_key_file, write_key_file,
};
pub use machine::Machine;
pub use muxer::{CloseReason, MuxerContext, MuxerUpgrade, Session, SessionEvent, StreamId};
pub use peer_id::{InvalidPeerId, parse_peer_id};
pub use peer_record::{PeerRecord, PeerRecordError};
pub use protocol::{InvalidProtocolId, ProtocolId};
pub use public_key::decode_identity_key;
pub use records::{Batch, PlainRecords, RecordLayout, Records, Transmit};
pub use rsa::import_rsa_key;
pub use runtime::{
    Network, Runtime, TcpConnection, TcpListener, TcpOptions, Timer, UdpSocket, sleep_until,
    with_deadline,
};
pub use security::{Handshake, Secured, SecurityUpgrade};
pub use sync::lock;
pub use task::{Task, TaskGroup};
pub use transport::{
    DialRequest, Incoming, Listener, ListenerEvent, Optimism, Transport, UpgradeRequest, Upgrader,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
