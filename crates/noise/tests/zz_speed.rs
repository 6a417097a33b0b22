//! x
#![allow(clippy::all)]
mod common;
use std::time::Instant;
use peerkit_core::{Transmit, Batch, Records, ChannelParts};
use bytes::BytesMut;
#[test]
fn speed() {
    let (dialer, listener) = (common::noise(1), common::noise(2));
    let t = Instant::now();
    for _ in 0..500 { let (a, b) = common::shake((&dialer, None, &[]), (&listener, &[])); a.and(b).unwrap(); }
    eprintln!("handshake (both sides) {:?}", t.elapsed()/500);
    let (a, b) = common::shake((&dialer, None, &[]), (&listener, &[]));
    let ChannelParts{records: mut ra, ..} = a.unwrap().channel.into_parts();
    let ChannelParts{records: mut rb, ..} = b.unwrap().channel.into_parts();
    let chunk = vec![7u8; 65519];
    let (mut ts, mut to) = (0.0, 0.0);
    let mut tr = Transmit::new(ra.layout()); let mut batch = Batch::default();
    for _ in 0..4000 {
        tr.put(&chunk); batch.advance(batch.unsent().len()); tr.swap(&mut batch);
        let t = Instant::now(); batch.seal(ra.as_mut()).unwrap(); ts += t.elapsed().as_secs_f64();
        let mut input = BytesMut::from(batch.unsent());
        let t = Instant::now(); rb.open(&mut input).unwrap().unwrap(); to += t.elapsed().as_secs_f64();
    }
    let gb = 4000.0*65519.0/1e9;
    eprintln!("seal {:.2} GB/s open {:.2} GB/s", gb/ts, gb/to);
}
