//! What every benchmark peer shares: its command line, the workloads, the measurement.
//!
//! A peer implements [`Node`] and calls [`run`]; so two peers differ in nothing but the stack.

#![forbid(unsafe_code)]

mod cli;
mod growth;
mod meter;
mod wire;
mod workloads;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use futures::{AsyncRead, AsyncWrite, future::BoxFuture};

pub use cli::run;
pub use wire::answer;

/// The application protocol of every stream.
pub const PROTOCOL: &str = "/bench/1";

/// The topic of the gossip workloads.
pub const TOPIC: &str = "bench";

/// The largest gossip message with its envelope, in bytes.
pub const GOSSIP_MAX: usize = 1 << 20;

/// What a peer says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The implementation.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What `--stack` accepts; the first is the default.
    pub stacks: &'static [&'static str],
    /// Whether it can gossip.
    pub gossip: bool,
}

/// Whether gossip messages are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gossip {
    Signed,
    Unsigned,
}

/// How a node is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// One of [`Info::stacks`].
    pub stack: String,
    /// Whether to listen on a free loopback port.
    pub listen: bool,
    /// Whether to join [`TOPIC`].
    pub gossip: Option<Gossip>,
}

/// How many gossip messages a node has got.
#[derive(Clone, Debug, Default)]
pub struct Delivered(Arc<AtomicU64>);

impl Delivered {
    /// Counts one more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A node of the stack under measurement, with an identity of its own.
pub trait Node: Sized + Send + Sync + 'static {
    /// A connection.
    type Conn: Send + Sync + 'static;
    /// A stream that speaks [`PROTOCOL`].
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Runs the future on the runtime that the setup names.
    fn block_on<T>(setup: &Setup, future: impl Future<Output = T>) -> Result<T>;

    /// Starts a node; inbound streams are answered with [`answer`] and the node's own counter.
    fn start(setup: &Setup) -> impl Future<Output = Result<Self>> + Send;

    /// Runs a task.
    fn spawn(setup: &Setup, task: BoxFuture<'static, ()>);

    /// Waits.
    fn sleep(setup: &Setup, time: Duration) -> BoxFuture<'static, ()>;

    /// Where the node listens.
    fn address(&self) -> Option<String>;

    /// Makes a new connection, ready for streams.
    fn connect(&self, address: &str) -> impl Future<Output = Result<Self::Conn>> + Send;

    /// Opens a stream for [`PROTOCOL`].
    fn open(&self, conn: &Self::Conn) -> impl Future<Output = Result<Self::Stream>> + Send;

    /// Ends a stream on which both sides have said everything.
    fn finish(
        &self,
        conn: &Self::Conn,
        stream: Self::Stream,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Closes a connection and waits until it is closed.
    fn disconnect(&self, conn: Self::Conn) -> impl Future<Output = Result<()>> + Send;

    /// Publishes on [`TOPIC`].
    fn publish(&self, messages: Vec<Vec<u8>>) -> impl Future<Output = Result<()>> + Send {
        drop(messages);
        async { bail!("no gossip here") }
    }

    /// The messages on [`TOPIC`] that this node got.
    fn delivered(&self) -> u64 {
        0
    }
}
