//! The limits: a TCP connection for each stream, plain or with encrypted frames, no handshake.

#![forbid(unsafe_code)]

mod framed;

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use bench_kit::{Delivered, Info, Node, Setup};
use framed::Framed;
use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::TokioAsyncReadCompatExt;

fn main() -> Result<()> {
    bench_kit::run::<Raw>(Info {
        name: "raw",
        version: env!("CARGO_PKG_VERSION"),
        stacks: &["tcp", "tcp-chachapoly-ring"],
        gossip: false,
    })
}

struct Raw {
    sealed: bool,
    address: Option<SocketAddr>,
}

/// Connections to one listener that no stream uses now.
struct Pool {
    address: SocketAddr,
    free: Mutex<Vec<Box<dyn Pipe>>>,
}

trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

impl Node for Raw {
    type Conn = Pool;
    type Stream = Box<dyn Pipe>;

    fn block_on<T>(_: &Setup, future: impl Future<Output = T>) -> Result<T> {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        Ok(tokio.block_on(future))
    }

    async fn start(setup: &Setup) -> Result<Self> {
        let sealed = setup.stack != "tcp";
        let mut address = None;
        if setup.listen {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            address = Some(listener.local_addr()?);
            tokio::spawn(serve(listener, sealed));
        }
        Ok(Self { sealed, address })
    }

    fn spawn(_: &Setup, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn sleep(_: &Setup, time: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed()
    }

    fn address(&self) -> Option<String> {
        Some(self.address?.to_string())
    }

    async fn connect(&self, address: &str) -> Result<Pool> {
        let address = address.parse()?;
        let first = pipe(TcpStream::connect(address).await?, self.sealed)?;
        Ok(Pool {
            address,
            free: Mutex::new(vec![first]),
        })
    }

    async fn open(&self, pool: &Pool) -> Result<Box<dyn Pipe>> {
        let free = pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match free {
            Some(pipe) => Ok(pipe),
            None => pipe(TcpStream::connect(pool.address).await?, self.sealed),
        }
    }

    async fn finish(&self, pool: &Pool, pipe: Box<dyn Pipe>) -> Result<()> {
        let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(pipe);
        Ok(())
    }

    async fn disconnect(&self, pool: Pool) -> Result<()> {
        drop(pool);
        Ok(())
    }
}

async fn serve(listener: TcpListener, sealed: bool) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let sleep = |time| tokio::time::sleep(time).boxed();
            // The dialer misses its answer if this fails.
            if let Ok(pipe) = pipe(socket, sealed) {
                let _ = bench_kit::answer(pipe, Delivered::default(), sleep).await;
            }
        });
    }
}

fn pipe(socket: TcpStream, sealed: bool) -> Result<Box<dyn Pipe>> {
    socket.set_nodelay(true)?;
    Ok(if sealed {
        Box::new(Framed::new(socket))
    } else {
        Box::new(socket.compat())
    })
}
