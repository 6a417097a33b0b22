//! What was published when, and when it has arrived where.

use std::time::Duration;

/// A message of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The node that has published it, by its place among the nodes of the network.
    pub(crate) publisher: usize,
    /// When it was published, since the simulation began.
    pub(crate) at: Duration,
    /// To how many peers the publisher sent it; none if it could not publish.
    pub(crate) sent_to: Option<usize>,
    /// Microseconds until it was there, for each node.
    arrivals: Vec<u32>,
}

impl Message {
    /// How long it took to a node; `None` if it is not there, and for its publisher.
    pub(crate) fn latency(&self, node: usize) -> Option<Duration> {
        let micros = self.arrivals.get(node).filter(|it| **it != NEVER)?;
        Some(Duration::from_micros(u64::from(*micros)))
    }

    /// The nodes that it has not reached, without its publisher.
    pub(crate) fn missing(&self) -> impl Iterator<Item = usize> {
        let nodes = self.arrivals.iter().enumerate();
        let missing = nodes.filter(|(_, micros)| **micros == NEVER);
        missing
            .map(|(node, _)| node)
            .filter(|it| *it != self.publisher)
    }
}

/// All messages of a run, and all arrivals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// In the order in which they were planned.
    pub(crate) messages: Vec<Message>,
    /// Messages that a node was given more than once, or that nobody has published.
    pub(crate) wrong: u64,
    /// Messages that a node has lost since its subscription was not read in time.
    pub(crate) lagged: u64,
}

impl Log {
    /// Notes a message that is published now; returns its number.
    pub(super) fn publish(&mut self, publisher: usize, nodes: usize, at: Duration) -> u64 {
        self.messages.push(Message {
            publisher,
            at,
            sent_to: None,
            arrivals: vec![NEVER; nodes],
        });
        self.messages.len() as u64 - 1
    }

    pub(super) fn sent(&mut self, number: u64, peers: usize) {
        if let Some(message) = self.messages.get_mut(number as usize) {
            message.sent_to = Some(peers);
        }
    }

    pub(super) fn arrive(&mut self, data: &[u8], node: usize, now: Duration) {
        let message = number_in(data).and_then(|it| self.messages.get_mut(it as usize));
        let Some(message) = message else {
            self.wrong += 1;
            return;
        };
        let micros = (now - message.at).as_micros();
        match message.arrivals.get_mut(node) {
            Some(arrival) if *arrival == NEVER => {
                *arrival = u32::try_from(micros).unwrap_or(NEVER - 1);
            }
            _ => self.wrong += 1,
        }
    }
}

/// A message with a number and so many bytes in all.
pub(super) fn data(number: u64, len: usize) -> Vec<u8> {
    let mut data = number.to_le_bytes().to_vec();
    // Not all the same, so that nothing can be said with fewer bytes.
    data.extend((data.len()..len).map(|place| (place as u64 ^ number) as u8));
    data
}

fn number_in(data: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*data.first_chunk()?))
}

const NEVER: u32 = u32::MAX;
