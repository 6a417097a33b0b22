//! What a negotiation costs: both machines, back to back, without a pipe.
#![allow(clippy::unwrap_used, reason = "a benchmark panics when it fails")]

use std::{sync::Arc, task::Poll};

use bytes::BytesMut;
use divan::{Bencher, black_box};
use peerkit_core::{Preamble, ProtocolId};
use peerkit_multistream::{Dialer, Listener};

fn main() {
    divan::main();
}

/// The dialer's last proposal is what the listener supports.
#[divan::bench(args = [1, 3])]
fn negotiation(bencher: Bencher, proposals: usize) {
    let proposed = protocols(proposals);
    let supported: Arc<[ProtocolId]> = proposed[proposals - 1..].into();
    bencher.bench(|| negotiate(black_box(&proposed), &supported));
}

/// The listener looks for the protocol among so many.
#[divan::bench(args = [1, 10, 100])]
fn negotiation_among(bencher: Bencher, supported: usize) {
    let supported: Arc<[ProtocolId]> = protocols(supported).into();
    let proposed = [supported[supported.len() - 1].clone()];
    bencher.bench(|| negotiate(black_box(&proposed), &supported));
}

/// The proposal leaves with the request, and the answer is checked when it comes with the response.
#[divan::bench]
fn optimistic(bencher: Bencher) {
    let proposed = protocols(1);
    let supported: Arc<[ProtocolId]> = proposed.as_slice().into();
    bencher.bench(|| {
        let mut dialer = Dialer::new(black_box(&proposed).clone());
        let mut listener = Listener::new(supported.clone());
        let mut packet = BytesMut::from(dialer.poll_transmit().unwrap());
        packet.extend_from_slice(b"request");
        assert!(listener.handle_read(&mut packet).is_ready());
        assert_eq!(packet, "request");
        let mut packet = BytesMut::from(listener.poll_transmit().unwrap());
        packet.extend_from_slice(b"response");
        let checked = Preamble::handle_read(&mut dialer, &mut packet);
        assert!(matches!(checked, Poll::Ready(Ok(()))));
        packet
    });
}

fn protocols(count: usize) -> Vec<ProtocolId> {
    let name = |number| ProtocolId::try_from(format!("/benchmark/{number}.0.0"));
    (0..count).map(|number| name(number).unwrap()).collect()
}

fn negotiate(proposed: &[ProtocolId], supported: &Arc<[ProtocolId]>) -> ProtocolId {
    let mut dialer = Dialer::new(proposed.to_vec());
    let mut listener = Listener::new(supported.clone());
    loop {
        let mut there = BytesMut::from(dialer.poll_transmit().unwrap());
        let _ = listener.handle_read(&mut there);
        let mut back = BytesMut::from(listener.poll_transmit().unwrap());
        if let Poll::Ready(agreed) = dialer.handle_read(&mut back) {
            return agreed.unwrap();
        }
    }
}
