//! `peerkit listen`: serves ping, identify, echo and perf, and prints the messages of topics.

use std::collections::BTreeSet;

use futures::{
    FutureExt, StreamExt, select,
    stream::{Fuse, LocalBoxStream, SelectAll},
};
use peerkit::{
    Host, HostConfig, HostEvent, Multiaddr,
    core::multiaddr::Protocol,
    identify::IdentifyEvent,
    pubsub::{PubsubEvent, Subscription},
};

use crate::{
    arguments::{ListenArguments, Options, parse_addrs},
    failure::Failure,
    interrupt::Interrupt,
    limits::{self, Quieting},
    node,
    output::{Event, Output, Refused},
    protocols::{echo, perf, pubsub::Pubsub},
    stdin,
};

use super::subscribe::{membership, print};

/// Ends well when a signal comes or, if that was asked for, stdin ends.
pub(crate) async fn run(
    arguments: &ListenArguments,
    options: &Options,
    output: Output,
    mut interrupt: Interrupt,
) -> Result<(), Failure> {
    let addrs = parse_addrs(&arguments.listen)?;
    let mut config = HostConfig::default();
    limits::apply(&arguments.limit, &mut config.limits)?;
    let host = node::start_with(options, config).await?;
    echo::serve(&host);
    perf::serve(&host);
    let topics = Topics::join(&host, arguments).await?;
    let work = async {
        let end = stdin::end(arguments.until_stdin_ends).fuse();
        select! {
            outcome = serve(&host, addrs, topics, output).fuse() => outcome,
            () = std::pin::pin!(end) => Ok(()),
        }
    };
    let outcome = interrupt.guard(work).await;
    host.close().await;
    // A signal is how a listener is told to stop.
    outcome.or_else(Failure::unless_interrupt)
}

/// Listens, and prints what happens until the node is closed.
async fn serve(
    host: &Host,
    addrs: Vec<Multiaddr>,
    mut topics: Topics,
    output: Output,
) -> Result<(), Failure> {
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
            message = topics.messages.select_next_some() => drop(print(message, output)?),
            event = topics.events.select_next_some() => membership(&event, &topics.names, output)?,
        }
    }
}

/// The topics that were asked for; silent without any.
struct Topics {
    /// Held so that it goes on.
    _pubsub: Option<Pubsub>,
    names: Vec<String>,
    messages: SelectAll<Subscription>,
    events: Fuse<LocalBoxStream<'static, PubsubEvent>>,
}

impl Topics {
    async fn join(host: &Host, arguments: &ListenArguments) -> Result<Self, Failure> {
        let mut topics = Self {
            _pubsub: None,
            names: arguments.topic.clone(),
            messages: SelectAll::new(),
            events: futures::stream::empty().boxed_local().fuse(),
        };
        if arguments.topic.is_empty() {
            return Ok(topics);
        }
        let pubsub = Pubsub::spawn(host, arguments.routing)?;
        for topic in &arguments.topic {
            topics.messages.push(pubsub.subscribe(topic).await?);
        }
        topics.events = pubsub.events().boxed_local().fuse();
        topics._pubsub = Some(pubsub);
        Ok(topics)
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
