//! What goes wrong.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    HostId, Sim,
    tcp::Side,
    trace::Kind,
    world::{Condition, World},
};

impl Sim {
    /// Cuts the links between two groups of hosts, in both directions, until [`heal`](Self::heal).
    ///
    /// Datagrams are lost. Streams send again, ever more rarely (after 0.2 s, doubling up to
    /// two minutes), and fail after fifteen minutes; what was to be connected is tried again for two.
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        self.partition_one_way(one, other);
        self.partition_one_way(other, one);
    }

    /// Cuts the links from one group of hosts to another one; the other direction goes on.
    pub fn partition_one_way(&mut self, from: &[HostId], to: &[HostId]) {
        self.cut(from, to);
    }

    /// Lets the links between two groups of hosts flap: they are up for `up`, then cut for `down`, and so
    /// on until it is `until` since the beginning. From then on they are up.
    ///
    /// Other partitions are left alone. [`heal`](Self::heal) brings the links up until they are cut again.
    ///
    /// # Panics
    ///
    /// If `up` and `down` are both zero.
    pub fn flap(
        &mut self,
        one: &[HostId],
        other: &[HostId],
        (up, down): (Duration, Duration),
        until: Duration,
    ) {
        assert!(!(up + down).is_zero(), "time has to pass in between");
        let flap = Flap {
            one: one.to_vec(),
            other: other.to_vec(),
            up,
            down,
            until,
        };
        flap.rise(self);
    }

    /// Ends all partitions.
    pub fn heal(&mut self) {
        self.shared.with(|world| {
            world.links.heal();
            world.record(Kind::Healed, [0; 3]);
        });
    }

    /// Resets the open connections between two groups of hosts, as a broken router does: both sides get a
    /// reset now, and what is under way is lost. Returns how many connections it were.
    pub fn reset_connections(&mut self, one: &[HostId], other: &[HostId]) -> usize {
        self.shared.with(|world| {
            let sides = world.open_between(one, other);
            for (connection, side) in &sides {
                world.hear_reset(*connection, *side);
            }
            let connections: BTreeSet<_> = sides.iter().map(|side| side.0).collect();
            connections.len()
        })
    }

    /// Makes a host forget its open connections to others, which are half-open then: the others learn
    /// of it by a reset when they next send something. The host's own program sees an aborted
    /// connection. Returns how many connections it were.
    pub fn forget_connections(&mut self, host: HostId, others: &[HostId]) -> usize {
        self.shared.with(|world| {
            let mut sides = world.open_between(&[host], others);
            sides.retain(|(id, side)| world.host_of(*id, *side) == Some(host));
            for (connection, side) in &sides {
                world.record(Kind::Forgotten, [*connection, u64::from(host.0), 0]);
                world.forget(*connection, *side);
            }
            sides.len()
        })
    }

    /// Stops the tasks of a host, as a debugger does: its sockets still take what arrives.
    pub fn pause(&mut self, host: HostId) {
        self.shared.with(|world| {
            if world.host(host).condition == Condition::Up {
                world.host_mut(host).condition = Condition::Paused;
                world.record(Kind::Paused, [u64::from(host.0), 0, 0]);
            }
        });
    }

    /// Lets a paused host go on.
    pub fn resume(&mut self, host: HostId) {
        let parked = self.shared.with(|world| {
            if world.host(host).condition != Condition::Paused {
                return Vec::new();
            }
            world.host_mut(host).condition = Condition::Up;
            world.record(Kind::Resumed, [u64::from(host.0), 0, 0]);
            std::mem::take(&mut world.host_mut(host).parked)
        });
        for task in parked {
            self.shared.ready.push(task);
        }
    }

    /// Cuts the power of a host: its tasks are gone and it says nothing to anybody. Others learn of
    /// it when they get no answer, or a reset once it is back. What it has [stored](crate::Node::storage) but
    /// not synced is lost.
    pub fn crash(&mut self, host: HostId) {
        self.end(host, Kind::Crashed, World::forget);
        self.shared.with(|world| {
            let state = world.host_mut(host);
            state.condition = Condition::Down;
            state.disk.crash();
        });
    }

    /// Ends the program of a host: its tasks are gone and its connections are reset. The host
    /// itself stays up and refuses connections.
    pub fn kill(&mut self, host: HostId) {
        self.end(host, Kind::Killed, World::abort);
        self.shared
            .with(|world| world.host_mut(host).condition = Condition::Up);
    }

    /// Starts a host again, with its program if it has one. Ends what it did before, if it is up.
    ///
    /// What is to survive a restart, for example a key, belongs into its [storage](crate::Node::storage).
    pub fn restart(&mut self, host: HostId) {
        let up = self
            .shared
            .with(|world| world.host(host).condition != Condition::Down);
        if up {
            self.kill(host);
        }
        self.shared.with(|world| {
            world.host_mut(host).condition = Condition::Up;
            world.record(Kind::Restarted, [u64::from(host.0), 0, 0]);
        });
        self.start(host);
    }

    /// Cuts one direction; returns by what to mend it.
    fn cut(&mut self, from: &[HostId], to: &[HostId]) -> u64 {
        let first = from.first().map_or(0, |host| u64::from(host.0));
        let subjects = [to.len() as u64, first, from.len() as u64];
        self.shared.with(|world| {
            world.record(Kind::Partitioned, subjects);
            world.links.cut(from, to)
        })
    }

    fn mend(&mut self, cuts: [u64; 2]) {
        self.shared.with(|world| {
            cuts.into_iter().for_each(|cut| world.links.mend(cut));
            world.record(Kind::Healed, [0; 3]);
        });
    }

    fn end(&mut self, host: HostId, kind: Kind, end: fn(&mut World, u64, Side)) {
        let (jobs, parked) = self.shared.with(|world| {
            world.record(kind, [u64::from(host.0), 0, 0]);
            for (connection, side) in world.connections_of(host) {
                end(world, connection, side);
            }
            let state = world.host_mut(host);
            state.life += 1;
            state.descriptors.reset();
            state.listeners.clear();
            state.udp.clear();
            let parked = std::mem::take(&mut state.parked);
            (world.tasks.evict(Some(host)), parked)
        });
        drop((jobs, parked));
    }
}

/// Links that go down and up.
struct Flap {
    one: Vec<HostId>,
    other: Vec<HostId>,
    up: Duration,
    down: Duration,
    until: Duration,
}

impl Flap {
    /// The links are up from now on.
    fn rise(self, sim: &mut Sim) {
        let at = sim.elapsed().saturating_add(self.up);
        if at < self.until {
            sim.at(at, |sim| self.fall(sim));
        }
    }

    /// The links are down from now on.
    fn fall(self, sim: &mut Sim) {
        let cuts = [
            sim.cut(&self.one, &self.other),
            sim.cut(&self.other, &self.one),
        ];
        let at = sim.elapsed().saturating_add(self.down).min(self.until);
        sim.at(at, move |sim| {
            sim.mend(cuts);
            self.rise(sim);
        });
    }
}
