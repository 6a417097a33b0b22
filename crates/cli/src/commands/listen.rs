//! `peerkit listen`: serves ping, identify, echo and perf.

use std::collections::BTreeSet;

use futures::{FutureExt, select};
use peerkit::{
    Host, HostConfig, HostEvent, Multiaddr, core::multiaddr::Protocol, identify::IdentifyEvent,
};

use crate::{
    arguments::{ListenArguments, Options, parse_addr},
    failure::Failure,
    interrupt::Interrupt,
    limits::{self, Quieting},
    node,
    output::{Event, Output, Refused},
    protocols::{echo, perf},
};

/// Ends well when a signal comes or, if that was asked for, stdin ends.
pub(crate) async fn run(
    arguments: &ListenArguments,
    options: &Options,
    output: Output,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    let addrs: Result<Vec<_>, _> = arguments
        .listen
        .iter()
        .map(|addr| parse_addr(addr))
        .collect();
    let addrs = addrs?;
    let mut config = HostConfig::default();
    limits::apply(&arguments.limit, &mut config.limits)?;
    let host = node::start_with(options, config).await?;
    echo::serve(&host);
    perf::serve(&host);
    let work = async {
        let end = stdin_end(arguments.until_stdin_ends).fuse();
        select! {
            outcome = serve(&host, addrs, output).fuse() => outcome,
            () = std::pin::pin!(end) => Ok(()),
        }
    };
    let outcome = interrupt.guard(work).await;
    host.close().await;
    match outcome {
        // A signal is how a listener is told to stop.
        Err(failure) if failure.is_interrupt() => Ok(()),
        outcome => outcome,
    }
}

/// Waits for the end of stdin, or for ever.
async fn stdin_end(is_awaited: bool) {
    if !is_awaited {
        return futures::future::pending().await;
    }
    let stdin = blocking::Unblock::new(std::io::stdin());
    // What can't be read any more has ended, too.
    let _ = futures::io::copy(stdin, &mut futures::io::sink()).await;
}

/// Listens, and prints what happens until the node is closed.
async fn serve(host: &Host, addrs: Vec<Multiaddr>, output: Output) -> Result<(), Failure> {
    let mut events = host.events();
    let mut identified = host.identify().events();
    let mut reporter = Reporter {
        host,
        output,
        shown: BTreeSet::new(),
        quieting: Quieting::default(),
    };
    for addr in addrs {
        host.listen(addr).await?;
    }
    for addr in host.listen_addrs() {
        reporter.listening(addr)?;
    }
    loop {
        select! {
            event = events.next().fuse() => match event {
                Some(event) => reporter.host_event(event)?,
                None => return Ok(()),
            },
            event = identified.next().fuse() => if let Some(event) = event {
                reporter.identify_event(event)?;
            },
        }
    }
}

/// Prints each address once.
struct Reporter<'a> {
    host: &'a Host,
    output: Output,
    shown: BTreeSet<Multiaddr>,
    quieting: Quieting,
}

impl Reporter<'_> {
    fn listening(&mut self, addr: Multiaddr) -> Result<(), Failure> {
        if !self.shown.insert(addr.clone()) {
            return Ok(());
        }
        let addr = addr.with(Protocol::P2p(self.host.local_peer()));
        self.output.event(&Event::Listening { addr: &addr })
    }

    fn host_event(&mut self, event: HostEvent) -> Result<(), Failure> {
        if let Some(refused) = Refused::of(&event) {
            return self.refused(&refused);
        }
        match event {
            HostEvent::Trimmed {
                connections,
                closed,
                high_watermark,
            } => self.output.event(&Event::Trimmed {
                connections,
                closed,
                high_watermark,
            }),
            HostEvent::Listening { addr, .. } => self.listening(addr),
            HostEvent::ListenAddressExpired { addr, .. } => {
                self.shown.remove(&addr);
                Ok(())
            }
            HostEvent::Connected { info, .. } => self.output.event(&Event::Connected(&info)),
            HostEvent::Disconnected { peer, reason, .. } => {
                let reason = reason.to_string();
                self.output.event(&Event::Disconnected { peer, reason })
            }
            HostEvent::ListenerClosed { .. }
            | HostEvent::InboundFailed { .. }
            | HostEvent::DialFailed { .. }
            | HostEvent::ProtocolsChanged
            | HostEvent::Lagged { .. }
            | _ => Ok(()),
        }
    }

    fn refused(&mut self, refused: &Refused<'_>) -> Result<(), Failure> {
        let now = self.host.runtime().now();
        match self.quieting.note(refused.limit.setting, now) {
            Some(times) => self.output.event(&Event::Limit { refused, times }),
            None => Ok(()),
        }
    }

    fn identify_event(&self, event: IdentifyEvent) -> Result<(), Failure> {
        // What a peer pushes later is not news of who it is.
        let IdentifyEvent::Identified { peer, info } = event else {
            return Ok(());
        };
        self.output.event(&Event::Identified {
            peer,
            agent: info.agent_version.as_deref().unwrap_or_default(),
            protocols: info.protocols.iter().map(ToString::to_string).collect(),
        })
    }
}
