//! Scenarios in which a victim of its own process serves honest peers while it is attacked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future;

use crate::{
    child::rss_of,
    honest::{Honest, Window},
    measure,
    report::Findings,
    scenario::{Defence, Run},
    victim::{Stats, Victim},
};

/// What a live scenario needs, and what is common to all of them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Changes of the victim's settings, in every run.
    pub settings: Vec<&'static str>,
    /// Changes that take the defence away.
    pub off: Vec<&'static str>,
    /// Attackers at the same time.
    pub lanes: usize,
    /// Memory that the victim may take for all of them, in KiB.
    pub memory: u64,
    /// What an event has to say about why they were sent away or held back; empty when nothing is to be told.
    pub event: &'static str,
    /// How long it goes on; more rounds are made as long as there is time.
    pub time: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            off: Vec::new(),
            lanes: 4,
            memory: 16 * 1024,
            event: "",
            time: Duration::from_secs(3),
        }
    }
}

/// What attackers know.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where the victim listens.
    pub addr: SocketAddr,
    /// The victim's process.
    pub process: u32,
    /// Which attacker this is, from 0.
    pub lane: usize,
    /// How often this attacker has attacked before.
    pub round: usize,
    /// How the scenario is run.
    pub run: Run,
}

/// How little a percentile may be without being compared: a scheduler's slice or two.
const P99_FLOOR_MS: f64 = 20.0;
/// How little memory is not compared, in KiB.
const MEMORY_FLOOR: u64 = 2048;

/// Runs an attack against a victim that serves honest peers, and measures what the common criteria need.
pub async fn live<Attack>(run: Run, plan: Plan, attack: Attack) -> Result<Findings>
where
    Attack: AsyncFn(Target) -> Result<Findings>,
{
    if run.defence == Defence::Off {
        return defenceless(run, &plan, &attack).await;
    }
    let mut findings = protected(run, &plan, &attack).await?;
    for _ in 0..2 {
        if !findings.failed_by_timing() {
            break;
        }
        // The machine may have been busy with something else.
        findings = protected(run, &plan, &attack).await?;
    }
    Ok(findings)
}

async fn protected<Attack>(run: Run, plan: &Plan, attack: &Attack) -> Result<Findings>
where
    Attack: AsyncFn(Target) -> Result<Findings>,
{
    let mut victim = Victim::start(&plan.settings).await?;
    let mut honest = Honest::start(victim.addr).await?;
    honest.window().await?;
    measure::sleep(run.quick_or(Duration::from_millis(600), Duration::from_secs(2))).await;
    let before = honest.window().await?;
    let idle = at_rest(&mut victim, &mut honest).await?;
    honest.resume().await?;
    let peak = Peak::watch(victim.process.id());
    let found = all_lanes(run, plan, &victim, attack).await;
    let during = honest.window().await?;
    let peak = peak.end();
    honest.pause().await?;
    let after = recovered(run, &mut victim, &idle)
        .await
        .context("the victim is gone")?;
    Ok(found?
        .and(of_memory(plan, &idle, peak, &after))
        .and(of_load(&before, &during))
        .and(of_sizes(plan, &mut victim, &idle, &after)))
}

/// Without honest peers, since what is looked for is the attack's success.
async fn defenceless<Attack>(run: Run, plan: &Plan, attack: &Attack) -> Result<Findings>
where
    Attack: AsyncFn(Target) -> Result<Findings>,
{
    let changes = [&plan.settings[..], &plan.off].concat();
    let mut victim = Victim::start(&changes).await?;
    let idle = victim.stats().await?;
    let peak = Peak::watch(victim.process.id());
    let mut plan = plan.clone();
    plan.time = plan.time.min(Duration::from_secs(1));
    let found = all_lanes(run, &plan, &victim, attack).await?;
    let grown = peak.end().saturating_sub(idle.number("rss"));
    let after = victim.stats().await?;
    let found = found.at_most("KiB more", grown, plan.memory);
    Ok(match plan.event {
        "" => found,
        event => found.holds("the event", after.happened(event) > 0),
    })
}

async fn at_rest(victim: &mut Victim, honest: &mut Honest) -> Result<Stats> {
    honest.pause().await?;
    measure::sleep(Duration::from_millis(150)).await;
    victim.stats().await
}

async fn all_lanes<Attack>(
    run: Run,
    plan: &Plan,
    victim: &Victim,
    attack: &Attack,
) -> Result<Findings>
where
    Attack: AsyncFn(Target) -> Result<Findings>,
{
    let time = run.quick_or(plan.time.min(Duration::from_millis(700)), plan.time);
    let end = Instant::now() + time;
    let (addr, process) = (victim.addr, victim.process.id());
    let lanes = (0..plan.lanes).map(|lane| async move {
        let mut kept: Option<Findings> = None;
        let mut round = 0;
        while round == 0 || Instant::now() < end {
            let target = Target {
                addr,
                process,
                lane,
                round,
                run,
            };
            let found = attack(target).await?;
            if kept.as_ref().is_none_or(|kept| kept.passed()) {
                kept = Some(found);
            }
            round += 1;
        }
        kept.context("there is a first round")
    });
    let mut all = future::try_join_all(lanes).await?;
    let bad = all.iter().position(|found| !found.passed()).unwrap_or(0);
    Ok(all.swap_remove(bad))
}

/// Waits until everything is as it was, for half a minute at most.
async fn recovered(run: Run, victim: &mut Victim, idle: &Stats) -> Result<Stats> {
    let end = Instant::now() + run.quick_or(Duration::from_secs(4), Duration::from_secs(30));
    loop {
        let now = victim.stats().await?;
        let memory = now.number("rss") <= memory_after(idle);
        if (memory && sizes(idle, &now).iter().all(|it| it.2 <= it.1)) || Instant::now() > end {
            return Ok(now);
        }
        measure::sleep(Duration::from_millis(200)).await;
    }
}

fn memory_after(idle: &Stats) -> u64 {
    let idle = idle.number("rss");
    idle + (idle / 10).max(MEMORY_FLOOR)
}

/// (c2)
fn of_memory(plan: &Plan, idle: &Stats, peak: u64, after: &Stats) -> Findings {
    let idle_rss = idle.number("rss");
    Findings::new()
        .at_most("KiB more", peak.saturating_sub(idle_rss), plan.memory)
        .at_most(
            "KiB kept",
            after.number("rss").saturating_sub(idle_rss),
            memory_after(idle) - idle_rss,
        )
}

/// (c3)
fn of_load(before: &Window, during: &Window) -> Findings {
    let share = 100.0 * during.per_second / before.per_second.max(1.0);
    let most = (3.0 * before.p99_ms).max(P99_FLOOR_MS);
    Findings::new()
        .at_least("honest %", share.round(), 90.0)
        .timing()
        .at_most("p99 ms", tenths(during.p99_ms), tenths(most))
        .timing()
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// (c1), (c4), (c5) and (c6)
fn of_sizes(plan: &Plan, victim: &mut Victim, idle: &Stats, after: &Stats) -> Findings {
    let all = sizes(idle, after);
    let left: Vec<_> = all.iter().filter(|it| it.2 > it.1).collect();
    let left: Vec<_> = left
        .iter()
        .map(|(name, most, now)| format!("{name} {now} > {most}"))
        .collect();
    let left = if left.is_empty() {
        "nothing".to_owned()
    } else {
        left.join(", ")
    };
    let findings = Findings::new()
        .holds("alive", victim.process.is_alive())
        .equal("left behind", left.as_str(), "nothing");
    match plan.event {
        "" => findings,
        event => findings.at_least("told", after.happened(event), 1),
    }
}

/// Name, most and now of all that has to be as it was. Counts may differ by what one honest peer's timer does.
fn sizes(idle: &Stats, now: &Stats) -> Vec<(&'static str, u64, u64)> {
    const NAMES: [(&str, u64); 13] = [
        ("connections", 0),
        ("half_open", 0),
        ("negotiations", 0),
        ("streams", 2),
        ("peers", 0),
        ("tasks", 3),
        ("fds", 2),
        ("router/router_peers", 0),
        ("router/topics", 0),
        ("router/subscriptions", 0),
        ("router/promises", 0),
        ("router/validating", 0),
        ("router/refusals", 0),
    ];
    NAMES
        .iter()
        .map(|(name, more)| (*name, idle.number(name) + more, now.number(name)))
        .collect()
}

/// The most memory that a process had.
struct Peak {
    most: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    watcher: Option<std::thread::JoinHandle<()>>,
}

impl Peak {
    fn watch(process: u32) -> Self {
        let (most, ended) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, over) = (most.clone(), ended.clone());
        let watcher = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                seen.fetch_max(rss_of(process), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        Self {
            most,
            ended,
            watcher: Some(watcher),
        }
    }

    fn end(mut self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            // It panics on nothing.
            let _ = watcher.join();
        }
        self.most.load(Ordering::Relaxed)
    }
}
