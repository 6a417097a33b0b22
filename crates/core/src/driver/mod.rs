//! The one place where a muxer machine meets tasks, wakers and a socket.
//!
//! ```text
//! MuxedStream --lock, copy once--> Session --swap--> Batch --seal--> socket
//! MuxedStream <--lock, copy once-- Session <--slices-- open <-- socket
//! ```
//!
//! One task per connection moves the bytes. It holds the lock while the machine
//! works, never during a system call, the cipher, or while waking others.

mod alarm;
mod buffers;
mod shared;
mod stream;
mod task;

use std::{fmt, sync::Arc, time::Duration};

use event_listener::listener;
use futures::{FutureExt, future::BoxFuture};

use self::{shared::Shared, stream::SessionStream, task::Driver};
use crate::{Channel, CloseReason, Connection, ConnectionError, MuxedStream, Runtime, Session};

/// Limits of a connection's task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverConfig {
    /// How long the remote may take to accept [`write_min`](Self::write_min) bytes while there are
    /// some to send. Stops peers that keep a connection but never read. 10 s by default.
    pub write_timeout: Duration,
    /// Bytes that the remote has to accept within [`write_timeout`](Self::write_timeout), unless it
    /// accepts all there are. Stops peers that read one byte now and then. 4 KiB by default.
    pub write_min: usize,
    /// How long the remote may take to confirm the muxer that was proposed optimistically. Stops
    /// peers that stay silent behind the handshake. 10 s by default.
    pub confirm_timeout: Duration,
    /// How long a closing connection waits for its last bytes to leave and for the
    /// remote to close as well. 1 s by default.
    pub close_timeout: Duration,
    /// The most that is read from the socket at once, in bytes. The buffer starts
    /// small, grows while reads fill it, and is given back when the connection is idle. 128 KiB by default.
    pub read_buffer_max: usize,
    /// Bytes in the transmit buffer from which on nothing more is read. Stops peers
    /// that ask for answers and do not read them. 1 MiB by default. Keep it larger than what the muxer's
    /// writers may fill: else two sides that both send much wait for each other to read.
    pub unread_answers_max: usize,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            write_timeout: Duration::from_secs(10),
            write_min: 4 * 1024,
            confirm_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(1),
            read_buffer_max: 128 * 1024,
            unread_answers_max: 1024 * 1024,
        }
    }
}

/// A [`Connection`] made of a [`Session`] and a [`Channel`].
///
/// Dropping it closes the connection; its streams fail then.
pub struct SessionConnection {
    shared: Arc<Shared>,
}

impl SessionConnection {
    /// Joins a machine with its channel. The returned future moves the bytes: spawn it.
    ///
    /// The session has to be made for [`Channel::layout`].
    pub fn start(
        channel: Channel,
        session: Box<dyn Session>,
        runtime: Arc<dyn Runtime>,
        config: DriverConfig,
    ) -> (Arc<dyn Connection>, BoxFuture<'static, ()>) {
        let parts = channel.into_parts();
        let confirmed = parts.preamble.is_none();
        let shared = Arc::new(Shared::new(session, runtime, confirmed));
        let driver = Driver::new(shared.clone(), parts, config);
        (Arc::new(Self { shared }), driver.run().boxed())
    }

    async fn open_stream(&self) -> Result<Box<dyn MuxedStream>, ConnectionError> {
        loop {
            listener!(self.shared.openable => openable);
            if let Some(id) = self.shared.try_open()? {
                return Ok(Box::new(SessionStream::new(self.shared.clone(), id)));
            }
            openable.await;
        }
    }

    async fn accept_stream(&self) -> Result<Box<dyn MuxedStream>, ConnectionError> {
        loop {
            listener!(self.shared.incoming => incoming);
            if let Some(id) = self.shared.try_accept()? {
                return Ok(Box::new(SessionStream::new(self.shared.clone(), id)));
            }
            incoming.await;
        }
    }
}

impl Connection for SessionConnection {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn MuxedStream>, ConnectionError>> {
        self.open_stream().boxed()
    }

    fn accept(&self) -> BoxFuture<'_, Result<Box<dyn MuxedStream>, ConnectionError>> {
        self.accept_stream().boxed()
    }

    fn close(&self, reason: CloseReason) {
        self.shared.close(reason);
    }

    fn closed(&self) -> BoxFuture<'_, ConnectionError> {
        async {
            loop {
                listener!(self.shared.changed => changed);
                if let Some(error) = self.shared.ended() {
                    return error;
                }
                changed.await;
            }
        }
        .boxed()
    }

    fn close_error(&self) -> Option<ConnectionError> {
        self.shared.ended()
    }

    fn stream_count(&self) -> usize {
        self.shared.stream_count()
    }

    fn is_confirmed(&self) -> bool {
        matches!(self.shared.confirmed(), Some(Ok(())))
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<(), ConnectionError>> {
        async {
            loop {
                listener!(self.shared.changed => changed);
                if let Some(outcome) = self.shared.confirmed() {
                    return outcome;
                }
                changed.await;
            }
        }
        .boxed()
    }
}

impl Drop for SessionConnection {
    fn drop(&mut self) {
        self.shared.close(CloseReason::Normal);
    }
}

impl fmt::Debug for SessionConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionConnection")
            .field("streams", &self.shared.stream_count())
            .field("ended", &self.shared.ended())
            .finish()
    }
}
