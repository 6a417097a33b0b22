//! A peer that writes bytes of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit_core::{Multiaddr, lock};
use peerkit_pubsub::{
    DecodeLimits, FrameDecoder, Message, MessageSigner, Rpc, RpcDecoder, SignaturePolicy,
    SubscriptionChange, Topic, encode_rpc,
};
use peerkit_swarm::{Host, Stream};
use peerkit_testkit::Net;

use super::Node;

pub(crate) struct Raw {
    pub(crate) host: Host,
    pub(crate) addr: Multiaddr,
    /// What has come, and on how many streams.
    pub(crate) heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) rpcs: Vec<Rpc>,
    pub(crate) streams: usize,
}

/// How it reads.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    /// As it should.
    All,
    /// One frame, then it lets go of the stream, as rust-libp2p's floodsub does.
    OneFrame,
    /// Not at all, but it holds on to the stream.
    Nothing,
}

impl Raw {
    pub(crate) async fn new(net: &Net, reading: Reading) -> Self {
        let (host, addr) = net.listener().await;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hearing = heard.clone();
        host.set_stream_handler("/floodsub/1.0.0", move |stream: Stream| {
            read(stream, hearing.clone(), reading)
        });
        Self { host, addr, heard }
    }

    pub(crate) async fn stream(&self, node: &Node) -> Stream {
        let stream = self.host.open_stream(&node.addr, "/floodsub/1.0.0").await;
        stream.unwrap()
    }

    /// Sends an RPC on a stream of its own, as rust-libp2p's floodsub does.
    pub(crate) async fn send_alone(&self, node: &Node, rpc: &Rpc) {
        let mut stream = self.stream(node).await;
        stream.write_all(&encode_rpc(rpc)).await.unwrap();
        stream.close().await.unwrap();
    }

    pub(crate) fn signed(&self, topic: &str, data: &[u8], seqno: u64) -> Arc<Message> {
        let policy = SignaturePolicy::StrictSign;
        let signer = MessageSigner::new(self.host.keypair(), policy, seqno);
        Arc::new(signer.message(&Topic::from(topic), data).unwrap())
    }

    /// All messages that have come.
    pub(crate) fn messages(&self) -> Vec<Bytes> {
        let heard = lock(&self.heard);
        let messages = heard.rpcs.iter().flat_map(|rpc| &rpc.messages);
        messages.map(|message| message.data.clone()).collect()
    }
}

async fn read(mut stream: Stream, heard: Arc<Mutex<Heard>>, reading: Reading) {
    lock(&heard).streams += 1;
    if reading == Reading::Nothing {
        return std::future::pending().await;
    }
    let mut frames = FrameDecoder::new(1 << 24);
    let mut rpcs = RpcDecoder::new(DecodeLimits::default());
    let mut buffer = vec![0; 65_536];
    loop {
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        let mut input = &buffer[..count];
        while let Some(frame) = frames.decode(&mut input).unwrap() {
            let rpc = rpcs.decode(&frame).unwrap().rpc;
            lock(&heard).rpcs.push(rpc);
            if reading == Reading::OneFrame {
                stream.reset(peerkit_core::ResetCode::NONE);
                return;
            }
        }
    }
}

pub(crate) fn joining(topic: &str) -> Rpc {
    Rpc {
        subscriptions: vec![SubscriptionChange {
            subscribe: true,
            topic: Topic::from(topic),
            requests_partial: false,
            supports_sending_partial: false,
        }],
        ..Rpc::default()
    }
}

pub(crate) fn publishing(messages: &[&Arc<Message>]) -> Rpc {
    Rpc {
        messages: messages.iter().copied().cloned().collect(),
        ..Rpc::default()
    }
}

/// A frame with this body.
pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut len = body.len();
    while len >= 0x80 {
        frame.push(len as u8 | 0x80);
        len >>= 7;
    }
    frame.push(len as u8);
    frame.extend_from_slice(body);
    frame
}

/// An unsigned message with an author and a number of any kind.
pub(crate) fn unsigned(from: &[u8], seqno: &[u8], topic: &str, data: &[u8]) -> Arc<Message> {
    let mut encoded = Vec::new();
    for (tag, content) in [
        (0x0a, from),
        (0x12, data),
        (0x1a, seqno),
        (0x22, topic.as_bytes()),
    ] {
        encoded.push(tag);
        encoded.extend_from_slice(&frame(content));
    }
    Arc::new(Message {
        from: Some(Bytes::copy_from_slice(from)),
        data: Bytes::copy_from_slice(data),
        seqno: Some(Bytes::copy_from_slice(seqno)),
        topic: Topic::from(topic),
        signature: None,
        key: None,
        encoded: encoded.into(),
    })
}
