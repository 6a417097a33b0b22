//! A middleman that passes bytes on, and cuts a connection after exactly so many of them.

use std::{future::poll_fn, io, net::SocketAddr, pin::pin, sync::Mutex};

use futures::{
    AsyncReadExt, AsyncWriteExt,
    channel::oneshot,
    future::{Either, pending, select},
    io::{ReadHalf, WriteHalf},
};
use peerkit::core::{Io, Network, TcpOptions};
use peerkit_sim::{HostId, SimRuntime};

use super::node::PORT;

/// Which bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Dialer,
    Listener,
}

/// What happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Both connections are dropped: they end, or are reset if bytes are still to come.
    Drop,
    /// The middleman's program is killed, which resets both connections.
    Kill,
    /// This direction ends properly; the other one goes on.
    End,
    /// Nothing passes any more, but all stays open.
    Silence,
}

/// Where and how a connection is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) toward: Toward,
    pub(crate) after: usize,
    pub(crate) how: How,
}

type Reader = ReadHalf<Box<dyn Io>>;
type Writer = WriteHalf<Box<dyn Io>>;

/// Takes one connection and passes it on to `target`. Tells when it has been cut.
pub(crate) async fn relay(
    runtime: SimRuntime,
    target: HostId,
    cut: Option<Cut>,
    done: oneshot::Sender<()>,
) -> io::Result<()> {
    let addr = |host: HostId| SocketAddr::new(host.ipv4(), PORT);
    let mut listener = runtime.listen_tcp(addr(runtime.host()), TcpOptions::default())?;
    let accepted = poll_fn(|cx| listener.poll_accept(cx)).await?;
    drop(listener);
    let connected = runtime
        .connect_tcp(addr(target), TcpOptions::default())
        .await?;
    let (dialer, to_dialer) = accepted.io.split();
    let (from_listener, listener) = connected.io.split();
    let limit = |toward| cut.filter(|cut| cut.toward == toward).map(|cut| cut.after);
    let there = pump(dialer, listener, limit(Toward::Listener));
    let back = pump(from_listener, to_dialer, limit(Toward::Dialer));
    let done = Mutex::new(Some(done));
    let tell = || {
        let done = peerkit::core::lock(&done).take();
        // Fails when nobody waits for it.
        done.map(|done| done.send(()));
    };
    let (there, back) = (pin!(there), pin!(back));
    let first = select(there, back).await;
    let (ended, other) = match first {
        Either::Left((ended, other)) => (ended, Either::Left(other)),
        Either::Right((ended, other)) => (ended, Either::Right(other)),
    };
    match (ended, cut.map(|cut| cut.how)) {
        (Ended::Cut(..), Some(How::Drop)) => {
            tell();
            return Ok(());
        }
        (Ended::Cut(_reader, _writer), Some(How::Kill | How::Silence)) => {
            tell();
            pending::<()>().await;
        }
        (Ended::Cut(reader, mut writer), _) => {
            tell();
            writer.close().await?;
            other.await;
            drop(reader);
        }
        (Ended::Closed(mut writer), _) => {
            // As a proxy does: an end is passed on.
            let _ = writer.close().await;
            other.await;
        }
    }
    Ok(())
}

enum Ended {
    Cut(Reader, Writer),
    Closed(Writer),
}

/// Passes bytes on until the end, or until there were so many.
async fn pump(mut reader: Reader, mut writer: Writer, limit: Option<usize>) -> Ended {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut buffer = vec![0; 4096];
    while left > 0 {
        let room = buffer.len().min(left);
        let Ok(count @ 1..) = reader.read(&mut buffer[..room]).await else {
            return Ended::Closed(writer);
        };
        if writer.write_all(&buffer[..count]).await.is_err() {
            return Ended::Closed(writer);
        }
        left -= count;
    }
    Ended::Cut(reader, writer)
}
