//! multistream-select.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::BytesMut;
use futures::{AsyncReadExt, AsyncWriteExt};
use peerkit::{Host, Multiaddr, ProtocolId};
use peerkit_multistream::Dialer;

use crate::{
    dial::{self, YAMUX},
    frames::{
        multistream::{HEADER, line, proposal},
        yamux::{self, DATA, FIN, RST, SYN},
    },
    live::{Plan, Target},
    node::Node,
    peer::{Reading, storm},
    report::Findings,
    scenario::{Run, Scenario, attack},
};

/// Scenarios B01 to B08 and the vectors of multistream-select.
pub fn table() -> Vec<Scenario> {
    [lines(), talks(), live_ones()]
        .into_iter()
        .flatten()
        .collect()
}

/// Bytes after which the victim has to hang up at once.
fn hangs_up(id: &'static str, title: &str, bytes: Vec<u8>) -> Scenario {
    Scenario::new(id, title, "closed at once", move |run| {
        let bytes = run.attack_or(bytes.clone(), proposal("/noise"));
        async move {
            let node = Node::start([]).await?;
            let patience = Duration::from_millis(run.attack_or(2000, 400));
            let (answer, closed) = dial::hangs_up(node.addr, &bytes, patience).await?;
            Ok(Findings::new().holds("closed", closed.is_some()).at_most(
                "bytes of answer",
                answer.len(),
                64,
            ))
        }
    })
    .harmless()
}

/// The header and what comes behind it.
fn after(bytes: &[u8]) -> Vec<u8> {
    [HEADER, bytes].concat()
}

fn lines() -> Vec<Scenario> {
    vec![
        hangs_up(
            "MS-LINE-1025",
            "a line of 1,025 bytes",
            after(&[0x81, 0x08]),
        ),
        hangs_up(
            "MS-LINE-16384",
            "a line of 16 KiB",
            after(&[0x80, 0x80, 0x01]),
        ),
        hangs_up(
            "MS-LINE-2^63",
            "a line of 2^63 bytes",
            after(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ),
        hangs_up(
            "MS-VARINT-ENDLESS",
            "a length without end",
            vec![0xff; 65_536],
        ),
        hangs_up(
            "MS-NO-NEWLINE",
            "a line without its end",
            after(b"\x06/noise"),
        ),
        hangs_up("MS-ZERO", "an empty line", after(&[0])),
        hangs_up(
            "MS-NON-MINIMAL",
            "a length in a longer form",
            after(b"\x83\x00na\n"),
        ),
        hangs_up(
            "MS-WRONG-VERSION",
            "another version",
            line("/multistream/9.9.9"),
        ),
        hangs_up(
            "MS-INVALID-UTF8",
            "a line that is no text",
            after(b"\x04/\xff\xfe\n"),
        ),
        hangs_up(
            "MS-HTTP",
            "another protocol",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ),
        hangs_up(
            "B01",
            "lines of all lengths above the limit",
            after(&[0xff, 0xff, 0x03]),
        ),
        hangs_up(
            "B02",
            "64 KiB of a length without end",
            after(&[0xff; 65_536]),
        ),
        hangs_up(
            "B05",
            "escape characters in a proposal that is no text",
            after(b"\x06\x1b[31\xff\n"),
        ),
        Scenario::new(
            "MS-HEADER-ONLY",
            "the header, then silence",
            "closed within 10.5 s",
            |run| async move { silent_header(run).await },
        )
        .raised("upgrade.timeout")
        .is_live(),
        Scenario::new(
            "MS-UNKNOWN-x1000",
            "1,000 unknown proposals",
            "closed after 64",
            |run| async move {
                let flood = after(&line("/a").repeat(run.attack_or(1000, 30)));
                let answers = refused(&flood, run).await?;
                Ok(Findings::new()
                    .holds("closed", answers.1)
                    .at_most("answers", answers.0, 64))
            },
        )
        .harmless(),
        Scenario::new(
            "MS-NA-LOOP",
            "a listener that refuses everything",
            "given up after the last proposal",
            |run| async move { Ok(refuses_everything(run)) },
        )
        .harmless(),
    ]
}

async fn silent_header(run: Run) -> Result<Findings> {
    let mut changes = run.changes(&["upgrade.timeout=600000"]);
    if run.quick && changes.is_empty() {
        changes.push("upgrade.timeout=1000");
    }
    let limit = Duration::from_millis(run.quick_or(1500, 10_500));
    let node = Node::start(changes).await?;
    let (_, closed) = dial::hangs_up(node.addr, HEADER, limit).await?;
    let millis = closed.unwrap_or(Duration::MAX).as_millis();
    Ok(Findings::new().at_most("ms", millis, limit.as_millis()))
}

/// How many proposals were refused in words, and whether the connection was closed.
async fn refused(bytes: &[u8], run: Run) -> Result<(usize, bool)> {
    let node = Node::start([]).await?;
    let patience = Duration::from_millis(run.attack_or(5000, 400));
    let (answer, closed) = dial::hangs_up(node.addr, bytes, patience).await?;
    let refusals = answer.windows(4).filter(|it| it == b"\x03na\n").count();
    Ok((refusals, closed.is_some()))
}

fn refuses_everything(run: Run) -> Findings {
    let protocols = ["/a", "/b", "/c"].map(ProtocolId::from_static);
    let mut dialer = Dialer::new(protocols.to_vec());
    let mut input = BytesMut::from(HEADER);
    let mut rounds = 0;
    let mut given_up = false;
    while rounds < 1000 && !given_up {
        // Off: the first proposal is accepted.
        input.extend_from_slice(&run.attack_or(line("na"), line("/a")));
        while dialer.poll_transmit().is_some() {}
        match dialer.handle_read(&mut input) {
            std::task::Poll::Ready(Err(_)) => given_up = true,
            std::task::Poll::Ready(Ok(_)) => break,
            std::task::Poll::Pending => {}
        }
        rounds += 1;
    }
    Findings::new()
        .holds("given up", given_up)
        .at_most("answers", rounds, 4)
}

fn talks() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "MS-LS",
            "ls again and again",
            "answered once, closed at 64 KiB",
            |run| async move {
                let count = run.attack_or(100_000, 2);
                let flood = [HEADER, &line("ls").repeat(count)].concat();
                let node = Node::start([]).await?;
                let patience = Duration::from_millis(run.attack_or(5000, 400));
                let (answer, closed) = dial::hangs_up(node.addr, &flood, patience).await?;
                Ok(Findings::new().holds("closed", closed.is_some()).at_most(
                    "bytes of answers",
                    answer.len(),
                    64 * 1024,
                ))
            },
        )
        .harmless(),
        Scenario::new(
            "B07",
            "somebody in the middle who strips /noise and leaves /plaintext/2.0.0",
            "the dial fails, and nothing was said in the clear",
            |run| async move { downgrade(run).await },
        )
        .harmless(),
        Scenario::new(
            "B08",
            "streams with ever new protocols of 1,000 bytes",
            "nothing is kept for a name",
            |run| async move { new_names(run).await },
        ),
    ]
}

/// A listener that refuses all but one protocol; off, that is one which the dialer supports.
async fn downgrade(run: Run) -> Result<Findings> {
    let listener = async_io::Async::<std::net::TcpListener>::bind(([127, 0, 0, 1], 0))?;
    let port = listener.get_ref().local_addr()?.port();
    let offered = run.attack_or("/plaintext/2.0.0", "/noise");
    let middle = async {
        let mut heard = Vec::new();
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(HEADER).await;
            let mut buffer = [0; 4096];
            while let Ok(count) = tcp.read(&mut buffer).await
                && count > 0
            {
                heard.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let answer = if text.contains(offered) {
                    offered
                } else {
                    "na"
                };
                let _ = tcp.write_all(&line(answer)).await;
                if answer == offered {
                    return heard;
                }
            }
        }
        heard
    };
    let host = Host::builder().build().await?;
    let addr: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse()?;
    let dialing = host.connect(addr);
    let (dialing, middle) = (std::pin::pin!(dialing), std::pin::pin!(middle));
    let refused = match futures::future::select(dialing, middle).await {
        futures::future::Either::Left((outcome, _)) => outcome.is_err(),
        futures::future::Either::Right(_) => false,
    };
    Ok(Findings::new().holds("the dial fails", refused))
}

async fn new_names(run: Run) -> Result<Findings> {
    let node = Node::start([]).await?;
    let stream = dial::muxed(node.addr, YAMUX).await?;
    let before = node.host.resources().scopes.len();
    let from = Instant::now();
    let count = run.quick_or(2000, 20_000);
    // Each ends with its proposal, so that they do not wait for their time to be over.
    let ending = storm(stream, Duration::from_secs(30), Reading::All, |n| {
        let id = n as u32 * 2 + 1;
        let name = format!("/{n:0>990}");
        (n < count).then(|| yamux::data(SYN | FIN, id, &proposal(&name)))
    });
    let watching = async {
        let mut most = 0;
        while from.elapsed() < Duration::from_millis(run.quick_or(1500, 6000)) {
            most = most.max(node.host.resources().scopes.len());
            crate::measure::sleep(Duration::from_millis(20)).await;
        }
        most
    };
    let (watching, ending) = (std::pin::pin!(watching), std::pin::pin!(ending));
    let most = match futures::future::select(watching, ending).await {
        futures::future::Either::Left((most, _)) => most,
        futures::future::Either::Right((_, watching)) => watching.await,
    };
    Ok(Findings::new().at_most("scopes", most, before + 4))
}

fn live_ones() -> Vec<Scenario> {
    vec![
        attack(
            "B03",
            "ls 100,000 times, answers not read",
            "closed at 64 KiB, memory flat",
            Plan {
                event: "InboundFailed",
                ..Plan::default()
            },
            async |target: Target| {
                let flood = [HEADER, &line("ls").repeat(100_000)].concat();
                let mut tcp = dial::tcp(target.addr).await?;
                let written = tcp.write_all(&flood).await;
                let rest = dial::drain(&mut tcp).await;
                Ok(Findings::new().holds("closed", written.is_err() || rest <= 64 * 1024))
            },
        ),
        attack(
            "B04",
            "unknown proposals without end",
            "closed after 64",
            Plan {
                event: "InboundFailed",
                ..Plan::default()
            },
            async |target: Target| {
                let flood = [HEADER, &line("/unknown").repeat(1000)].concat();
                let patience = Duration::from_secs(5);
                let (answer, closed) = dial::hangs_up(target.addr, &flood, patience).await?;
                let refusals = answer.windows(4).filter(|it| it == b"\x03na\n").count();
                Ok(Findings::new()
                    .holds("closed", closed.is_some())
                    .at_most("answers", refusals, 64))
            },
        ),
        attack(
            "B06",
            "200 KiB behind an unknown proposal, on 64 streams",
            "refused or reset, memory bounded",
            Plan {
                lanes: 2,
                ..Plan::default()
            },
            async |target: Target| {
                let stream = dial::muxed(target.addr, YAMUX).await?;
                let begin = proposal("/unknown/1.0.0");
                let ending = storm(stream, Duration::from_secs(3), Reading::All, |n| {
                    let id = n as u32 * 2 + 1;
                    let body = [&begin[..], &[0x7f; 200 * 1024]].concat();
                    (n < 64).then(|| yamux::data(SYN, id, &body))
                })
                .await;
                let resets = ending.frames.iter().filter(|it| it.flags & RST != 0);
                let answers = ending.frames.iter().filter(|it| it.kind == DATA);
                Ok(Findings::new()
                    .at_least("refused or reset", resets.count() + answers.count(), 60)
                    .holds("open", !ending.is_over()))
            },
        ),
    ]
}
