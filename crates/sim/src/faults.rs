//! What goes wrong.

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
        let first = from.first().map_or(0, |host| u64::from(host.0));
        self.shared.with(|world| {
            world.links.cut(from, to);
            world.record(
                Kind::Partitioned,
                [to.len() as u64, first, from.len() as u64],
            );
        });
    }

    /// Ends all partitions.
    pub fn heal(&mut self) {
        self.shared.with(|world| {
            world.links.heal();
            world.record(Kind::Healed, [0; 3]);
        });
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
    /// it when they get no answer, or a reset once it is back.
    pub fn crash(&mut self, host: HostId) {
        self.end(host, Kind::Crashed, World::forget);
        self.shared
            .with(|world| world.host_mut(host).condition = Condition::Down);
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
    /// What is to survive a restart, for example a key, has to live outside of the program.
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

    fn end(&mut self, host: HostId, kind: Kind, end: fn(&mut World, u64, Side)) {
        let (jobs, parked) = self.shared.with(|world| {
            world.record(kind, [u64::from(host.0), 0, 0]);
            for (connection, side) in world.connections_of(host) {
                end(world, connection, side);
            }
            let state = world.host_mut(host);
            state.life += 1;
            state.listeners.clear();
            state.udp.clear();
            let parked = std::mem::take(&mut state.parked);
            (world.tasks.evict(Some(host)), parked)
        });
        drop((jobs, parked));
    }
}
