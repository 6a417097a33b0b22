//! What a scenario is, and running it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{FutureExt, future::LocalBoxFuture};

use crate::{
    live::{Plan, Target, live},
    measure,
    report::{Findings, Row},
};

/// An attack, and what has to hold under it.
pub struct Scenario {
    /// Its id in the catalogue.
    pub id: String,
    /// What it does.
    pub title: String,
    /// What has to hold.
    pub criterion: String,
    /// How it can be seen to fail.
    pub control: Control,
    /// Whether it takes a process of its own.
    pub kind: Kind,
    work: Box<dyn Fn(Run) -> LocalBoxFuture<'static, Result<Findings>>>,
}

/// How a scenario is seen to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// With a defence taken away: a setting.
    Raised(String),
    /// With the harmless neighbour of the attack in its place, which must not be refused.
    Harmless,
    /// Not at all, with the reason.
    None(&'static str),
}

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In this process: milliseconds.
    Vector,
    /// With a victim and honest peers in processes of their own.
    Live,
}

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// With the defence or without; without, the scenario has to fail.
    pub defence: Defence,
    /// Small sizes and short waits.
    pub quick: bool,
}

/// Whether the defence is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defence {
    /// As it ships.
    On,
    /// Taken away, or the attack made harmless.
    Off,
}

impl Run {
    /// One of two values.
    pub fn quick_or<T>(self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The attack, or its harmless neighbour when the control is run.
    pub fn attack_or<T>(self, attack: T, harmless: T) -> T {
        match self.defence {
            Defence::On => attack,
            Defence::Off => harmless,
        }
    }

    /// Changes of settings that take the defence away; none while it is to be there.
    pub fn changes(self, off: &[&'static str]) -> Vec<&'static str> {
        self.attack_or(Vec::new(), off.to_vec())
    }
}

/// How long a scenario may take.
const PATIENCE: Duration = Duration::from_secs(180);

impl Scenario {
    /// A scenario without a way to see it fail.
    pub fn new<Work>(
        id: &str,
        title: &str,
        criterion: &str,
        work: impl Fn(Run) -> Work + 'static,
    ) -> Self
    where
        Work: Future<Output = Result<Findings>> + 'static,
    {
        Self {
            id: id.into(),
            title: title.into(),
            criterion: criterion.into(),
            control: Control::None("no setting switches it"),
            kind: Kind::Vector,
            work: Box::new(move |run| work(run).boxed_local()),
        }
    }

    /// It has to fail when this setting takes the defence away.
    pub fn raised(mut self, setting: &str) -> Self {
        self.control = Control::Raised(setting.into());
        self
    }

    /// It has to fail with the harmless neighbour of the attack.
    pub fn harmless(mut self) -> Self {
        self.control = Control::Harmless;
        self
    }

    /// It is live, though it starts its victim by itself.
    pub fn is_live(mut self) -> Self {
        self.kind = Kind::Live;
        self
    }

    /// Runs it, and the control if it is asked for.
    pub async fn row(&self, quick: bool, control: ControlRuns) -> Row {
        let from = Instant::now();
        let outcome = self.outcome(Run {
            defence: Defence::On,
            quick,
        });
        let mut outcome = outcome.await;
        if outcome.as_ref().is_ok_and(Findings::failed_by_timing) {
            // The machine may have been busy with something else.
            let defence = Defence::On;
            outcome = self.outcome(Run { defence, quick }).await;
        }
        let wanted = match control {
            ControlRuns::All => true,
            ControlRuns::Vectors => self.kind == Kind::Vector,
        };
        let seen_to_fail = match &self.control {
            Control::None(reason) => format!("no: {reason}"),
            _ if !wanted => "not in this run".into(),
            control => self.seen_to_fail(control, quick).await,
        };
        Row {
            id: self.id.clone(),
            title: self.title.clone(),
            criterion: self.criterion.clone(),
            outcome,
            seen_to_fail,
            millis: from.elapsed().as_millis(),
        }
    }

    async fn seen_to_fail(&self, control: &Control, quick: bool) -> String {
        let run = Run {
            defence: Defence::Off,
            quick,
        };
        let how = match control {
            Control::Raised(setting) => format!("{setting} off"),
            Control::Harmless => "harmless bytes".into(),
            Control::None(reason) => (*reason).into(),
        };
        match self.outcome(run).await {
            Ok(findings) if findings.passed() => format!("NO, passes with {how}"),
            Ok(_) => format!("yes: {how}"),
            // An error is no measured value, but neither is it a pass.
            Err(error) => format!("yes: {how} ({error})"),
        }
    }

    async fn outcome(&self, run: Run) -> Result<Findings, String> {
        let work = std::panic::AssertUnwindSafe((self.work)(run)).catch_unwind();
        match measure::within(PATIENCE, work).await {
            None => Err("it did not end in time".into()),
            Some(Err(_)) => Err("it panicked".into()),
            Some(Ok(outcome)) => outcome.map_err(|error| format!("{error:#}")),
        }
    }
}

/// Which scenarios are also run without their defence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRuns {
    /// Those that cost milliseconds.
    Vectors,
    /// All that can.
    All,
}

/// A live scenario: the attack is made again and again by several attackers, while honest peers are served.
pub fn attack<Attack>(id: &str, title: &str, criterion: &str, plan: Plan, round: Attack) -> Scenario
where
    Attack: AsyncFn(Target) -> Result<Findings> + Copy + 'static,
{
    let off = plan
        .off
        .first()
        .map(|it| it.split('=').next().unwrap_or(it).to_owned());
    let scenario = Scenario::new(id, title, criterion, move |run| {
        let plan = plan.clone();
        async move { live(run, plan, round).await }
    });
    let scenario = match off {
        Some(setting) => scenario.raised(&setting),
        None => scenario,
    };
    scenario.is_live()
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
