//! The attacks of the hardening paper, as numbers.

use std::time::Duration;

use super::sybil::Deed;

/// An attack: how many attackers do what to whom, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    /// As the command names it.
    pub(crate) name: &'static str,
    /// In one sentence.
    pub(crate) about: &'static str,
    /// Attackers for each honest node.
    pub(crate) ratio: usize,
    /// Honest neighbours of each honest node, on average.
    pub(crate) degree: usize,
    /// Honest nodes that each attacker dials.
    pub(crate) dialed: usize,
    /// Attackers that each honest node that is aimed at dials, since somebody has told it their addresses.
    pub(crate) lures: usize,
    /// Whom they attack.
    pub(crate) aim: Aim,
    /// Honest nodes begin to connect at some moment within this time.
    pub(crate) boots_within: Duration,
    /// When the attackers begin to connect.
    pub(crate) arrives_at: Duration,
    /// Until then they behave; when honest nodes begin to publish if that is later.
    pub(crate) strikes_at: Duration,
    /// What they do then.
    pub(crate) harm: Harm,
    /// When it is over.
    pub(crate) ends_at: Duration,
    /// Whether the network has to overcome it, so that in the end messages arrive as fast as without it. What an
    /// attack does to one author's messages only is nothing that scores could see.
    pub(crate) swift: bool,
    /// Whether it has to succeed when peers are not scored. Otherwise what is seen in the test is not the scores' work.
    pub(crate) bites: bool,
}

/// Whom attackers connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Everybody,
    /// All of them connect to one node.
    One,
}

/// What attackers do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Harm {
    /// To all messages.
    All(Deed),
    /// They drop what one node publishes.
    CensorOne,
}

impl Attack {
    const NONE: Self = Self {
        name: "none",
        about: "attackers that behave all the time",
        ratio: 4,
        degree: 8,
        dialed: 10,
        lures: 8,
        aim: Aim::Everybody,
        boots_within: Duration::from_secs(1),
        arrives_at: Duration::ZERO,
        strikes_at: Duration::from_secs(3600),
        harm: Harm::All(Deed::Drop),
        ends_at: Duration::from_secs(120),
        swift: true,
        bites: false,
    };

    /// Attackers come when the network is warm, and do not wait.
    const LATE: Self = Self {
        arrives_at: WARM,
        strikes_at: WARM,
        bites: true,
        ..Self::NONE
    };

    /// When honest nodes begin to publish: once all are connected.
    pub(crate) fn publishes_at(&self) -> Duration {
        self.boots_within + Duration::from_secs(4)
    }
}

const WARM: Duration = Duration::from_secs(15);

/// All attacks.
pub(crate) const ALL: [Attack; 12] = [
    Attack::NONE,
    Attack {
        name: "sybil",
        about: "attackers come to a warm network and forward nothing",
        ..Attack::LATE
    },
    Attack {
        name: "spam",
        about: "the same, and they send messages with bad signatures",
        harm: Harm::All(Deed::Spam),
        ..Attack::LATE
    },
    Attack {
        name: "deceive",
        about: "the same, and they offer messages that they don't deliver",
        harm: Harm::All(Deed::Deceive),
        ..Attack::LATE
    },
    Attack {
        name: "eclipse-one",
        about: "all attackers surround one node and forward nothing",
        aim: Aim::One,
        lures: 40,
        ..Attack::LATE
    },
    Attack {
        name: "eclipse",
        about: "attackers surround every node and forward nothing",
        dialed: 20,
        lures: 20,
        ..Attack::LATE
    },
    Attack {
        name: "cold-boot",
        about: "40 attackers for each honest node are there from the beginning",
        ratio: 40,
        dialed: 1,
        lures: 20,
        arrives_at: Duration::ZERO,
        strikes_at: Duration::ZERO,
        ..Attack::LATE
    },
    Attack {
        name: "dawn",
        about: "attackers wait for honest nodes that come one after the other",
        ratio: 10,
        dialed: 4,
        lures: 20,
        boots_within: Duration::from_secs(20),
        arrives_at: Duration::ZERO,
        strikes_at: Duration::ZERO,
        ..Attack::LATE
    },
    Attack {
        name: "covert-flash",
        about: "attackers behave for two minutes and strike all at once",
        arrives_at: Duration::ZERO,
        strikes_at: Duration::from_secs(120),
        ends_at: Duration::from_secs(270),
        ..Attack::LATE
    },
    Attack {
        name: "censor",
        about: "attackers drop what one node publishes, and nothing else",
        harm: Harm::CensorOne,
        swift: false,
        // Publishing to all peers and gossip are enough.
        bites: false,
        ..Attack::LATE
    },
    Attack {
        name: "degrade",
        about: "attackers drop half of all messages",
        harm: Harm::All(Deed::Degrade(0.5)),
        // What one attacker drops, another one brings.
        bites: false,
        ..Attack::LATE
    },
    Attack {
        name: "delay",
        about: "attackers forward every message a second late",
        harm: Harm::All(Deed::Delay(Duration::from_secs(1))),
        ..Attack::LATE
    },
];
