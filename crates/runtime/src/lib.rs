// The README's example needs the default back end.
#![cfg_attr(any(feature = "async-io", not(doctest)), doc = include_str!("../README.md"))]

#[cfg(feature = "async-io")]
mod async_io;
#[cfg(feature = "async-std")]
mod async_std;
#[cfg(feature = "async-io")]
mod executor;
#[cfg(feature = "async-io")]
mod reactor;
#[cfg(feature = "smol")]
mod smol;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod socket;
#[cfg(any(feature = "async-io", feature = "tokio"))]
mod system;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "async-io")]
pub use self::async_io::{AsyncIo, block_on};
#[cfg(feature = "async-std")]
pub use self::async_std::AsyncStd;
#[cfg(feature = "smol")]
pub use self::smol::Smol;
#[cfg(feature = "tokio")]
pub use self::tokio::Tokio;

/// The runtime that peerkit uses when none is chosen: [`AsyncIo`].
#[cfg(feature = "async-io")]
pub fn default() -> std::sync::Arc<dyn peerkit_core::Runtime> {
    std::sync::Arc::new(AsyncIo::new())
}
