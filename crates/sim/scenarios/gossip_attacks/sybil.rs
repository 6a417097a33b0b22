//! What an attacker says: a machine that speaks gossipsub by hand.
//!
//! As in the hardening paper's attacker, it joins whatever topic a peer names and grafts that peer, and
//! grafts it again when the backoff of a prune is over. Until it strikes, it forwards each message to its mesh like
//! an honest node.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use peerkit::{
    Keypair, PeerId,
    pubsub::{
        Control, IHave, Message, MessageIdFn, MessageSigner, Rpc, SeenCache, SignaturePolicy,
        SubscriptionChange, Topic, encode_rpc,
    },
};
use rand::{RngExt, rngs::StdRng};

/// What it does from a certain time on. Until then it does nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    /// By the clock of the simulation.
    pub(crate) strikes_at: Duration,
    pub(crate) deed: Deed,
}

/// How an attacker does harm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    /// Forwards nothing.
    Drop,
    /// Forwards nothing, and offers everybody what it will not deliver.
    Deceive,
    /// Forwards nothing, and sends a message with a bad signature instead.
    Spam,
    /// Forwards this share of messages.
    Degrade(f64),
    /// Forwards everything, but so much later.
    Delay(Duration),
    /// Forwards everything but what this one has published.
    Censor(PeerId),
}

/// One identity of an attacker.
pub(crate) struct Sybil {
    plan: Plan,
    rng: StdRng,
    mesh: BTreeSet<PeerId>,
    peers: BTreeSet<PeerId>,
    seen: SeenCache,
    ids: MessageIdFn,
    signer: MessageSigner,
}

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) to: PeerId,
    pub(crate) frame: Bytes,
    /// How long to wait before.
    pub(crate) after: Duration,
}

/// What has come, and when.
pub(crate) struct Arrival {
    pub(crate) from: PeerId,
    pub(crate) rpc: Rpc,
    pub(crate) elapsed: Duration,
    pub(crate) now: std::time::Instant,
}

impl Sybil {
    pub(crate) fn new(plan: Plan, keypair: &Keypair, rng: StdRng) -> Self {
        Self {
            plan,
            rng,
            mesh: BTreeSet::new(),
            peers: BTreeSet::new(),
            seen: SeenCache::new(SEEN_TTL, SEEN_MAX),
            ids: MessageIdFn::default(),
            signer: MessageSigner::new(keypair, SignaturePolicy::StrictSign, 1),
        }
    }

    /// A peer is gone.
    pub(crate) fn lost(&mut self, peer: &PeerId) {
        self.mesh.remove(peer);
        self.peers.remove(peer);
    }

    /// Takes what a peer has sent; returns what is to be sent.
    pub(crate) fn handle(&mut self, arrival: Arrival) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let Arrival { from, rpc, .. } = &arrival;
        self.peers.insert(*from);
        let joined = rpc.subscriptions.iter().filter(|it| it.subscribe);
        for change in joined {
            parcels.push(self.greet(*from, &change.topic));
        }
        self.mesh.extend(rpc.control.graft.first().map(|_| *from));
        for prune in &rpc.control.prune {
            parcels.push(self.graft_again(*from, &prune.topic));
        }
        for message in &rpc.messages {
            self.receive(message, &arrival, &mut parcels);
        }
        parcels
    }

    /// Joins a topic and grafts a peer, in one breath.
    fn greet(&mut self, peer: PeerId, topic: &Topic) -> Parcel {
        self.mesh.insert(peer);
        let change = SubscriptionChange {
            subscribe: true,
            topic: topic.clone(),
            requests_partial: false,
            supports_sending_partial: false,
        };
        let rpc = Rpc {
            subscriptions: vec![change],
            control: graft(topic),
            ..Rpc::default()
        };
        parcel(peer, &rpc, Duration::ZERO)
    }

    fn graft_again(&mut self, peer: PeerId, topic: &Topic) -> Parcel {
        let rpc = Rpc {
            control: graft(topic),
            ..Rpc::default()
        };
        let slack = REGRAFT_SLACK.mul_f64(self.rng.random());
        parcel(peer, &rpc, BACKOFF + slack)
    }

    fn receive(&mut self, message: &Arc<Message>, arrival: &Arrival, parcels: &mut Vec<Parcel>) {
        let id = self.ids.id(message);
        if !self.seen.insert(&id, arrival.now) {
            return;
        }
        let strikes = arrival.elapsed >= self.plan.strikes_at;
        let after = match self.plan.deed {
            _ if !strikes => Duration::ZERO,
            Deed::Drop => return,
            Deed::Deceive => {
                let offer = IHave {
                    topic: message.topic.clone(),
                    ids: vec![id],
                };
                let mut rpc = Rpc::default();
                rpc.control.ihave.push(offer);
                return parcels.extend(parcels_to(&self.peers, &rpc, Duration::ZERO));
            }
            Deed::Spam => {
                let rpc = with_message(self.rubbish(&message.topic));
                return parcels.extend(parcels_to(&self.mesh, &rpc, Duration::ZERO));
            }
            Deed::Degrade(share) if !self.rng.random_bool(share) => return,
            Deed::Censor(victim) if message.author() == Some(victim) => return,
            Deed::Degrade(_) | Deed::Censor(_) => Duration::ZERO,
            Deed::Delay(delay) => delay,
        };
        let rpc = with_message(message.clone());
        let author = message.author();
        let others = self.mesh.iter();
        let others = others.filter(|peer| **peer != arrival.from && Some(**peer) != author);
        parcels.extend(parcels_to(others, &rpc, after));
    }

    /// A message of its own whose signature is wrong.
    fn rubbish(&self, topic: &Topic) -> Arc<Message> {
        let message = self.signer.message(topic, &[0; 256]);
        let mut message = message.expect("an Ed25519 key signs anything");
        let mut encoded = message.encoded.to_vec();
        // The signature stands last.
        if let Some(last) = encoded.last_mut() {
            *last ^= 1;
        }
        message.encoded = encoded.into();
        Arc::new(message)
    }
}

fn graft(topic: &Topic) -> Control {
    Control {
        graft: vec![topic.clone()],
        ..Control::default()
    }
}

fn with_message(message: Arc<Message>) -> Rpc {
    Rpc {
        messages: vec![message],
        ..Rpc::default()
    }
}

fn parcel(to: PeerId, rpc: &Rpc, after: Duration) -> Parcel {
    let frame = encode_rpc(rpc);
    Parcel { to, frame, after }
}

fn parcels_to<'a>(
    peers: impl IntoIterator<Item = &'a PeerId>,
    rpc: &Rpc,
    after: Duration,
) -> Vec<Parcel> {
    let frame = encode_rpc(rpc);
    let parcel = |to: &PeerId| Parcel {
        to: *to,
        frame: frame.clone(),
        after,
    };
    peers.into_iter().map(parcel).collect()
}

/// For how long a pruned attacker stays away, so that it breaks no rule.
const BACKOFF: Duration = Duration::from_secs(60);
/// And at most so much longer.
const REGRAFT_SLACK: Duration = Duration::from_secs(15);
const SEEN_TTL: Duration = Duration::from_secs(120);
const SEEN_MAX: usize = 4096;
