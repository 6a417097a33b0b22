//! A TCP proxy on loopback that makes a link of known delay.
//!
//! Each direction is delayed by the same time, in order, and without a limit
//! of bandwidth. It cannot delay the TCP handshake, which the kernel does.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

const CHUNK: usize = 64 * 1024;
/// Chunks in flight; beyond them the sender waits, as on a full pipe.
const IN_FLIGHT_MAX: usize = 1024;

pub(crate) struct Proxy {
    address: SocketAddr,
    counts: Arc<Counts>,
}

/// Bytes that the proxy has taken, by direction.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) from_dialer: AtomicU64,
    pub(crate) from_listener: AtomicU64,
}

impl Proxy {
    /// Forwards to `target` for the rest of the process's life.
    pub(crate) fn start(target: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy = Self {
            address: listener.local_addr()?,
            counts: Arc::default(),
        };
        let counts = proxy.counts.clone();
        thread::spawn(move || {
            for dialer in listener.incoming().map_while(Result::ok) {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                // The dialer sees the end of its connection.
                if let Err(error) = forward(dialer, target, delay, &counts) {
                    eprintln!("proxy: {error}");
                }
            }
        });
        Ok(proxy)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

fn forward(
    dialer: TcpStream,
    target: SocketAddr,
    delay: Duration,
    counts: &Arc<Counts>,
) -> io::Result<()> {
    let listener = TcpStream::connect(target)?;
    dialer.set_nodelay(true)?;
    listener.set_nodelay(true)?;
    let (from_dialer, from_listener) = (counts.clone(), counts.clone());
    one_way(
        dialer.try_clone()?,
        listener.try_clone()?,
        delay,
        move |bytes| {
            from_dialer.from_dialer.fetch_add(bytes, Ordering::Relaxed);
        },
    );
    one_way(listener, dialer, delay, move |bytes| {
        from_listener
            .from_listener
            .fetch_add(bytes, Ordering::Relaxed);
    });
    Ok(())
}

fn one_way(from: TcpStream, to: TcpStream, delay: Duration, count: impl Fn(u64) + Send + 'static) {
    let (sender, receiver) = mpsc::sync_channel(IN_FLIGHT_MAX);
    // Either end of a broken connection ends both threads.
    thread::spawn(move || take(from, &sender, delay, count));
    thread::spawn(move || give(to, &receiver));
}

/// Stamps what comes with the time at which it arrives at the far end. An
/// empty chunk is the end.
fn take(
    mut from: TcpStream,
    sender: &SyncSender<(Instant, Vec<u8>)>,
    delay: Duration,
    count: impl Fn(u64),
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        count(read as u64);
        let chunk = (Instant::now() + delay, buffer[..read].to_vec());
        if sender.send(chunk).is_err() || read == 0 {
            return;
        }
    }
}

fn give(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    for (due, chunk) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if chunk.is_empty() || to.write_all(&chunk).is_err() {
            break;
        }
    }
    // Fails when the connection is gone already.
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_through_the_proxy_takes_one_round_trip_and_is_counted() {
        let delay = Duration::from_millis(50);
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(echo.local_addr().unwrap(), delay).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut copy = stream.try_clone().unwrap();
            io::copy(&mut copy, &mut stream).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });

        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        let start = Instant::now();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();

        assert_eq!(answer, b"hello");
        assert!(start.elapsed() >= 2 * delay);
        assert_eq!(proxy.counts().connections.load(Ordering::Relaxed), 1);
        assert_eq!(proxy.counts().from_dialer.load(Ordering::Relaxed), 5);
        assert_eq!(proxy.counts().from_listener.load(Ordering::Relaxed), 5);
    }
}
