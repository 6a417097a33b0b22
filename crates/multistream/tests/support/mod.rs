//! Pipes in memory.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};

/// One end of a two-way pipe.
pub(crate) struct Pipe {
    inbound: Half,
    outbound: Half,
}

/// Two ends that are connected.
pub(crate) fn pipe() -> (Pipe, Pipe) {
    let (there, back) = (Half::default(), Half::default());
    let left = Pipe {
        inbound: back.clone(),
        outbound: there.clone(),
    };
    let right = Pipe {
        inbound: there,
        outbound: back,
    };
    (left, right)
}

/// An end whose remote has said everything and has closed.
pub(crate) fn recorded(sent: &[u8]) -> Pipe {
    let (near, far) = pipe();
    far.outbound.push(sent);
    far.outbound.close();
    near
}

#[derive(Clone, Default)]
struct Half(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    closed: bool,
    waker: Option<Waker>,
}

impl Half {
    fn push(&self, bytes: &[u8]) {
        self.change(|state| state.bytes.extend(bytes));
    }

    fn close(&self) {
        self.change(|state| state.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self
                .0
                .lock()
                .expect("no test panics while it holds the lock");
            change(&mut state);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self
            .inbound
            .0
            .lock()
            .expect("no test panics while it holds the lock");
        if state.bytes.is_empty() && !state.closed {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(io::Read::read(&mut state.bytes, buffer))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outbound.push(buffer);
        Poll::Ready(Ok(buffer.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.close();
        Poll::Ready(Ok(()))
    }
}
