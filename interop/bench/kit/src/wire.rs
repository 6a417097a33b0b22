//! The requests of a benchmark stream: 32 bytes, with an operation first and a count at 8.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::BoxFuture};

use crate::Delivered;

pub(crate) const REQUEST: usize = 32;

pub(crate) type Request = [u8; REQUEST];

pub(crate) const ECHO: u8 = b'E';
pub(crate) const UPLOAD: u8 = b'U';
pub(crate) const DOWNLOAD: u8 = b'D';
pub(crate) const WATCH: u8 = b'W';

pub(crate) fn request(operation: u8, count: u64) -> Request {
    let mut request = [0; REQUEST];
    request[0] = operation;
    request[8..16].copy_from_slice(&count.to_be_bytes());
    request
}

pub(crate) fn count(request: &Request) -> u64 {
    request[8..16]
        .iter()
        .fold(0, |count, byte| count << 8 | u64::from(*byte))
}

/// Answers the requests of one inbound stream until the dialer closes it, then closes it too.
pub async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    delivered: Delivered,
    sleep: impl Fn(Duration) -> BoxFuture<'static, ()>,
) -> io::Result<()> {
    let mut request = [0; REQUEST];
    while read_request(&mut stream, &mut request).await? {
        match request[0] {
            ECHO => stream.write_all(&request).await?,
            UPLOAD => {
                receive(&mut stream, count(&request)).await?;
                stream.write_all(&request).await?;
            }
            DOWNLOAD => send(&mut stream, count(&request)).await?,
            WATCH => return watch(&mut stream, &delivered, sleep).await,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        stream.flush().await?;
    }
    stream.close().await
}

/// False at the end of the stream.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    request: &mut Request,
) -> io::Result<bool> {
    let read = stream.read(request).await?;
    if read == 0 {
        return Ok(false);
    }
    stream.read_exact(&mut request[read..]).await?;
    Ok(true)
}

pub(crate) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: u64) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK as u64);
        stream.write_all(&chunk[..now as usize]).await?;
        left -= now;
    }
    stream.flush().await
}

pub(crate) async fn receive(stream: &mut (impl AsyncRead + Unpin), bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let wanted = left.min(CHUNK as u64) as usize;
        match stream.read(&mut chunk[..wanted]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read as u64,
        }
    }
    Ok(())
}

/// Reports the count each millisecond in which it changed, until nobody listens.
async fn watch(
    stream: &mut (impl AsyncWrite + Unpin),
    delivered: &Delivered,
    sleep: impl Fn(Duration) -> BoxFuture<'static, ()>,
) -> io::Result<()> {
    let mut told = None;
    loop {
        let now = delivered.get();
        if told != Some(now) {
            stream.write_all(&request(WATCH, now)).await?;
            stream.flush().await?;
            told = Some(now);
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Bytes of one read or write of the bulk workloads.
const CHUNK: usize = 64 * 1024;
