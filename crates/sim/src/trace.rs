//! What has happened: a hash over everything, and the last events in words.

use std::{collections::VecDeque, fmt, time::Duration};

/// The kind of an event in the trace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Spawned,
    Polled,
    Ended,
    Panicked,
    Timer,
    Connecting,
    Accepted,
    Connected,
    Refused,
    Sent,
    Arrived,
    Stalled,
    Reset,
    TimedOut,
    DatagramSent,
    DatagramArrived,
    DatagramLost,
    Scripted,
    Crashed,
    Killed,
    Restarted,
    Paused,
    Resumed,
    Partitioned,
    Healed,
    Translated,
    Blocked,
    Rebooted,
    Stored,
    Wiped,
    Forgotten,
    Joined,
}

#[derive(Clone, Copy)]
struct Record {
    at: u64,
    kind: Kind,
    subjects: [u64; 3],
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Duration::from_nanos(self.at);
        let [first, second, third] = self.subjects;
        write!(f, "{at:>16.9?} {:?} ", self.kind)?;
        match self.kind {
            Kind::Spawned | Kind::Ended | Kind::Panicked | Kind::Polled => {
                write!(f, "task {first} of host {second}")
            }
            Kind::Sent | Kind::Arrived | Kind::Stalled => {
                write!(f, "connection {first}, to host {second}, {third} bytes")
            }
            Kind::Connecting
            | Kind::Accepted
            | Kind::Connected
            | Kind::Refused
            | Kind::Reset
            | Kind::Forgotten
            | Kind::Joined
            | Kind::TimedOut => write!(f, "connection {first}, host {second}"),
            Kind::DatagramSent | Kind::DatagramArrived | Kind::DatagramLost => {
                write!(f, "from host {first} to host {second}, {third} bytes")
            }
            Kind::Stored => write!(f, "host {first}, {third} bytes"),
            Kind::Wiped
            | Kind::Crashed
            | Kind::Killed
            | Kind::Restarted
            | Kind::Paused
            | Kind::Resumed => {
                write!(f, "host {first}")
            }
            Kind::Translated | Kind::Blocked | Kind::Rebooted => write!(f, "nat {first}"),
            Kind::Partitioned => write!(f, "{first} hosts from {second}"),
            Kind::Timer | Kind::Scripted | Kind::Healed => Ok(()),
        }
    }
}

/// A hash over all events in order, and the last of them.
pub(crate) struct Trace {
    hash: u64,
    last: VecDeque<Record>,
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            hash: mix(seed, OFFSET),
            last: VecDeque::with_capacity(KEPT),
        }
    }

    pub(crate) fn record(&mut self, at: u64, kind: Kind, subjects: [u64; 3]) {
        self.hash = mix(self.hash, at);
        self.hash = mix(self.hash, kind as u64);
        for subject in subjects {
            self.hash = mix(self.hash, subject);
        }
        // Polls, timers and the script are in the hash, but would fill the list.
        if matches!(
            kind,
            Kind::Polled | Kind::Timer | Kind::Scripted | Kind::Translated
        ) {
            return;
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Record { at, kind, subjects });
    }

    /// Bytes on a link: a key that was not drawn from the seed shows here.
    pub(crate) fn content(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.hash = mix(self.hash, u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.hash = mix(self.hash, u64::from(*byte));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().map(Record::to_string).collect()
    }
}

/// Every bit of both inputs reaches about half of the output's bits.
pub(crate) fn mix(state: u64, word: u64) -> u64 {
    let mut mixed = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 32)
}

const OFFSET: u64 = 0x2545_f491_4f6c_dd1d;
/// Events in words that a failure prints.
const KEPT: usize = 40;
