//! Keys, peer ids and signed records.

use std::time::{Duration, Instant};

use anyhow::Result;
use peerkit::{
    Host, Keypair, Multiaddr, PeerId,
    core::{Envelope, PeerRecord, parse_peer_id},
};

use crate::{
    frames::{identify, keys, multistream, prefixed},
    measure,
    node::Node,
    peer::Puppet,
    report::Findings,
    scenario::{Run, Scenario},
};

/// Scenarios I01 to I05, and the advisories about identities.
pub fn table() -> Vec<Scenario> {
    [dials(), records(), bytes()]
        .into_iter()
        .flatten()
        .collect()
}

fn dials() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "I01",
            "an address of A at which B answers",
            "the dial fails, and B is not taken for A",
            |run| async move {
                let node = Node::start([]).await?;
                let other = Keypair::generate_ed25519().public().to_peer_id();
                let claimed = run.attack_or(other, node.peer());
                let (ip, port) = (node.addr.ip(), node.addr.port());
                let addr: Multiaddr = format!("/ip4/{ip}/tcp/{port}/p2p/{claimed}").parse()?;
                let host = Host::builder().build().await?;
                let outcome = host.connect(addr).await;
                let error = outcome.err().map(|it| it.to_string()).unwrap_or_default();
                measure::sleep(Duration::from_millis(100)).await;
                Ok(Findings::new()
                    .holds("the dial fails", !error.is_empty())
                    .equal("connections", host.connections().len(), 0)
                    .equal(
                        "protocols asked",
                        node.happened("Disconnected: the remote closed"),
                        0,
                    ))
            },
        )
        .harmless(),
        Scenario::new(
            "I02",
            "a node that dials itself",
            "refused within 1 s, nothing is left",
            |run| async move {
                let (node, other) = (Node::start([]).await?, Node::start([]).await?);
                let target = run.attack_or(&node, &other);
                let mut failed = 0;
                let bare = target.host.listen_addrs().remove(0);
                let from = Instant::now();
                for addr in [target.host.addrs().remove(0), bare] {
                    failed += usize::from(node.host.connect(addr).await.is_err());
                }
                let millis = from.elapsed().as_millis();
                measure::sleep(Duration::from_millis(100)).await;
                Ok(Findings::new()
                    .equal("refused", failed, 2)
                    .at_most("ms", millis, 1000)
                    .equal("connections", node.host.connections().len(), 0))
            },
        )
        .harmless(),
    ]
}

fn record(keypair: &Keypair, seq: u64) -> Result<PeerRecord> {
    let addr = "/ip4/192.0.2.1/tcp/4001".parse()?;
    Ok(PeerRecord::sign(keypair, seq, vec![addr])?)
}

/// The payload of a record that names any peer.
fn payload(peer: &PeerId, seq: u64) -> Vec<u8> {
    use crate::frames::protobuf::{bytes, number};
    [bytes(1, &peer.to_bytes()), number(2, seq)].concat()
}

/// What a record has to be signed for.
fn signed(keypair: &Keypair, domain: &str, kind: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
    Ok(Envelope::sign(keypair, domain, kind, payload)?
        .encoded()
        .to_vec())
}

fn is_accepted(encoded: &[u8]) -> bool {
    Envelope::decode(encoded.to_vec()).is_ok_and(|it| PeerRecord::from_envelope(it).is_ok())
}

/// Records that prove nothing about the peer that they name.
fn forged_records() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (me, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let about_other = payload(&other.public().to_peer_id(), 7);
    let about_me = payload(&me.public().to_peer_id(), 7);
    let kind = PeerRecord::PAYLOAD_TYPE;
    let honest = record(&me, 7)?.envelope().encoded().to_vec();
    let zeros = {
        let mut bytes = honest.clone();
        let len = bytes.len();
        bytes[len - 64..].fill(0);
        bytes
    };
    let random = {
        let mut bytes = honest.clone();
        let len = bytes.len();
        bytes[len - 64..].copy_from_slice(&rand::random::<[u8; 64]>());
        bytes
    };
    Ok(vec![
        (
            "another signer",
            signed(&me, PeerRecord::DOMAIN, kind, &about_other)?,
        ),
        (
            "another domain",
            signed(&me, "libp2p-relay-rsvp", kind, &about_me)?,
        ),
        (
            "another kind",
            signed(&me, PeerRecord::DOMAIN, &[3, 2], &about_me)?,
        ),
        ("the domain of the other form", {
            signed(&me, PeerRecord::LEGACY_DOMAIN, kind, &about_me)?
        }),
        (
            "an empty payload",
            signed(&me, PeerRecord::DOMAIN, kind, &[])?,
        ),
        ("nothing", Vec::new()),
        ("zeros for a signature", zeros),
        ("random bytes for a signature", random),
    ])
}

fn records() -> Vec<Scenario> {
    let refusal = |id: &str, title: &str, wanted: &'static [&'static str]| {
        Scenario::new(id, title, "each refused", move |run| async move {
            let honest = record(&Keypair::generate_ed25519(), 7)?;
            let all = forged_records()?;
            let chosen = all.into_iter().filter(|it| wanted.contains(&it.0));
            let accepted = chosen.filter(|(_, bytes)| {
                let honest = honest.envelope().encoded();
                is_accepted(run.attack_or(bytes, honest))
            });
            Ok(Findings::new().equal("accepted", accepted.count(), 0))
        })
        .harmless()
    };
    vec![
        refusal(
            "I03",
            "8 records that were signed by others, for something else, or not at all",
            &[
                "another signer",
                "another domain",
                "another kind",
                "the domain of the other form",
                "an empty payload",
                "nothing",
                "zeros for a signature",
                "random bytes for a signature",
            ],
        ),
        refusal(
            "R01-record",
            "RUSTSEC-2019-0004: 64 bytes that are no signature under a record",
            &["zeros for a signature", "random bytes for a signature"],
        ),
        refusal(
            "R04",
            "RUSTSEC-2022-0009: a record about another peer than its signer",
            &["another signer"],
        ),
        Scenario::new(
            "I03-damaged",
            "a record cut at each byte, and with each byte changed",
            "each refused",
            |run| async move {
                let whole = record(&Keypair::generate_ed25519(), 7)?;
                let whole = whole.envelope().encoded();
                let cut = (0..whole.len()).map(|end| whole[..end].to_vec());
                let flipped = (0..whole.len()).map(|at| {
                    let mut bytes = whole.to_vec();
                    bytes[at] ^= run.attack_or(1, 0);
                    bytes
                });
                let accepted = cut.chain(flipped).filter(|bytes| is_accepted(bytes));
                Ok(Findings::new().equal("accepted", accepted.count(), 0))
            },
        )
        .harmless(),
        Scenario::new(
            "I03-seq",
            "records with a lower, an equal and the largest number",
            "only a higher one replaces",
            |_| async {
                let me = Keypair::generate_ed25519();
                let known = record(&me, 10)?;
                let replaces = |seq| Ok::<_, anyhow::Error>(record(&me, seq)?.supersedes(&known));
                Ok(Findings::new()
                    .holds("lower does not", !replaces(9)?)
                    .holds("equal does not", !replaces(10)?)
                    .holds("higher does", replaces(11)?)
                    .holds("the largest does", replaces(u64::MAX)?))
            },
        ),
        Scenario::new(
            "R42",
            "CVE-2026-86039: a record of another peer, told by identify",
            "not believed, and no address of it is kept",
            |run| async move { told_by_identify(run).await },
        )
        .harmless(),
    ]
}

/// A peer whose identify carries the record of somebody else.
async fn told_by_identify(run: Run) -> Result<Findings> {
    let node = Node::start([]).await?;
    let puppet = Puppet::new(node.addr)?;
    let other = Keypair::generate_ed25519();
    let signer = run.attack_or(&other, puppet.host.keypair());
    let record = record(signer, 7)?;
    let said = identify::message(&[(identify::RECORD, record.envelope().encoded())]);
    super::identify::answers(&puppet, said);
    puppet.meets(&node).await?;
    let me = puppet.host.local_peer();
    let info = node.host.identify().identify(me).await;
    let rejected = info.as_ref().is_ok_and(|it| it.rejected_record.is_some());
    let addresses = node
        .host
        .known_addresses(&other.public().to_peer_id())
        .len();
    Ok(Findings::new()
        .holds("rejected", rejected || info.is_err())
        .equal("addresses of the other", addresses, 0))
}

fn bytes() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "I04",
            "texts that are no peer ids",
            "refused within 1 ms",
            |run| async move {
                let honest = Keypair::generate_ed25519()
                    .public()
                    .to_peer_id()
                    .to_string();
                let texts = [
                    String::new(),
                    "1".into(),
                    "12D3KooWOIl0".into(),
                    "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5".into(),
                    "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi".into(),
                    "1".repeat(10 * 1024),
                    "z".repeat(100_000),
                ];
                let from = Instant::now();
                let refused = texts.iter().filter(|text| {
                    let text = run.attack_or(text.as_str(), honest.as_str());
                    parse_peer_id(text).is_err()
                });
                let refused = refused.count();
                Ok(Findings::new()
                    .equal("refused", refused, texts.len())
                    .at_most("us", from.elapsed().as_micros(), 7000))
            },
        )
        .harmless(),
        Scenario::new(
            "I05",
            "a key of 16 KiB inside a peer id",
            "refused",
            |run| async move {
                let key = run.attack_or(
                    keys::key(keys::RSA, &[7; 16 * 1024]),
                    Keypair::generate_ed25519().public().encode_protobuf(),
                );
                let inline = [vec![0], prefixed(&key)].concat();
                Ok(Findings::new().holds("refused", PeerId::from_bytes(&inline).is_err()))
            },
        )
        .harmless(),
        Scenario::new(
            "R03",
            "RUSTSEC-2020-0068: each beginning of a hash",
            "an error and no panic",
            |run| async move {
                let valid = Keypair::generate_ed25519().public().to_peer_id().to_bytes();
                let others = [
                    vec![0x12],
                    vec![0x12, 0x20],
                    vec![0x12, 0x21],
                    vec![0xff; 20],
                ];
                let cut = (0..valid.len()).map(|end| valid[..end].to_vec());
                let all: Vec<_> = cut.chain(others).collect();
                let accepted = all
                    .iter()
                    .filter(|bytes| PeerId::from_bytes(run.attack_or(bytes, &valid)).is_ok());
                Ok(Findings::new().equal("accepted", accepted.count(), 0))
            },
        )
        .harmless(),
        Scenario::new(
            "R37",
            "CVE-2020-16845: a number without end, in every decoder",
            "refused by the tenth byte",
            |run| async move { Ok(endless_numbers(run)) },
        )
        .harmless(),
        Scenario::new(
            "R51",
            "CL-2020-07: a length of 2^31 in every decoder",
            "refused before anything came",
            |run| async move {
                let length = run.attack_or(crate::frames::varint(1 << 31), vec![1]);
                Ok(refused_by_all(&length, 4))
            },
        )
        .harmless(),
    ]
}

fn endless_numbers(run: Run) -> Findings {
    refused_by_all(&run.attack_or(vec![0xff; 10], vec![0]), 4)
}

/// Feeds bytes to the decoder of each protocol that has lengths.
fn refused_by_all(bytes: &[u8], expected: usize) -> Findings {
    let mut mplex = crate::machine::mplex(peerkit::mplex::Config::default());
    // The length of a frame comes behind its stream.
    mplex.feed([&[2][..], bytes].concat());
    let mut listener = peerkit_multistream::Listener::new([].into());
    let lines = [multistream::HEADER, bytes].concat();
    let outcome = listener.handle_read(&mut bytes::BytesMut::from(&lines[..]));
    let refused = [
        !mplex.is_alive(),
        matches!(outcome, std::task::Poll::Ready(Err(_))),
        peerkit::identify::Decoder::default()
            .handle_read(bytes)
            .is_err(),
        peerkit::pubsub::FrameDecoder::new(1 << 20)
            .decode(&mut &bytes[..])
            .is_err(),
    ];
    let refused = refused.into_iter().filter(|it| *it).count();
    Findings::new().equal("decoders that refuse", refused, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_records_differ_from_an_honest_one() {
        assert!(forged_records().is_ok_and(|all| all.iter().all(|it| !is_accepted(&it.1))));
        let honest = record(&Keypair::generate_ed25519(), 1);
        assert!(honest.is_ok_and(|it| is_accepted(it.envelope().encoded())));
    }
}
