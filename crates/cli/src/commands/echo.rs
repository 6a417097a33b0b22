//! `peerkit echo`: bytes to a peer and back.

use futures::AsyncRead;
use peerkit::{Host, Multiaddr};

use crate::{
    arguments::EchoArguments,
    failure::Failure,
    output::{Echoed, Event, Output},
    progress,
    protocols::{echo, explain},
    transfer::PseudoRandom,
};

pub(crate) async fn run(
    host: &Host,
    arguments: &EchoArguments,
    output: Output,
) -> Result<(), Failure> {
    let addr = arguments.target.addr()?;
    if !arguments.stdin {
        let source = PseudoRandom::new(arguments.bytes);
        let echoed = exchange(host, addr, source, Answer::Discard, Some(arguments.bytes)).await?;
        return output.event(&Event::Echo(&echoed));
    }
    let answer = match output.is_json() {
        true => Answer::Discard,
        false => Answer::Print,
    };
    let stdin = blocking::Unblock::new(std::io::stdin());
    let echoed = exchange(host, addr, stdin, answer, None).await?;
    output.event_beside_data(&Event::Echo(&echoed))
}

/// What becomes of the bytes that come back.
enum Answer {
    Discard,
    Print,
}

async fn exchange(
    host: &Host,
    addr: Multiaddr,
    source: impl AsyncRead,
    answer: Answer,
    bytes: Option<u64>,
) -> Result<Echoed, Failure> {
    let runtime = host.runtime().as_ref();
    let start = runtime.now();
    let stream = host.open_stream(addr, echo::PROTOCOL).await?;
    let peer = stream.remote_peer();
    let progress = progress::bytes("echo".into(), bytes);
    let see = |count| progress.add(count);
    let outcome = match answer {
        Answer::Discard => echo::exchange(runtime, stream, source, futures::io::sink(), see).await,
        Answer::Print => {
            let stdout = blocking::Unblock::new(std::io::stdout());
            echo::exchange(runtime, stream, source, stdout, see).await
        }
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => return Err(explain(host, peer, echo::PROTOCOL, failure).await),
    };
    Ok(Echoed {
        bytes: outcome.bytes,
        sha256: outcome.sha256,
        elapsed: runtime.now() - start,
        first_byte: outcome.first_byte_at.map(|at| at - start),
    })
}
