#![doc = include_str!("../README.md")]

mod backlog;
mod network;
mod pipe;
mod sync;
mod transport;

pub use network::{Config, MemoryNetwork};
pub use pipe::{Pipe, duplex};
pub use transport::Memory;
