//! What is in use, to look at.

use peerkit_core::Machine;

use super::{
    Resource, ResourceScope, Scope,
    scope::{COUNTED, setting},
};
use crate::IpNetwork;

/// What a node uses now, and how much it may; see [`Host::resources`](crate::Host::resources).
///
/// The scopes are read one after the other, so numbers of two scopes may be an instant apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resources {
    /// The machine that the limits follow.
    pub machine: Machine,
    /// System, transient, networks, peers, protocols and connections, in that order. Those in
    /// which nothing is open are left out, but for the first two.
    pub scopes: Vec<ScopeUsage>,
}

/// What is in use in one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScopeUsage {
    /// Which.
    pub scope: ResourceScope,
    /// Everything that is limited there.
    pub usage: Vec<ResourceUsage>,
}

/// How much of one resource is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceUsage {
    /// Of what.
    pub resource: Resource,
    /// How much is in use.
    pub used: usize,
    /// How much may be in use.
    pub max: usize,
    /// The setting that raises that, as a path from [`HostConfig`](crate::HostConfig).
    pub setting: &'static str,
}

impl Resources {
    /// What is in use of one resource in one scope; `None` if that is not counted there, or nothing is open.
    pub fn usage(&self, scope: &ResourceScope, resource: Resource) -> Option<ResourceUsage> {
        let scopes = self.scopes.iter().filter(|it| it.scope == *scope);
        let mut usage = scopes.flat_map(|it| &it.usage);
        usage.find(|it| it.resource == resource).copied()
    }
}

impl ScopeUsage {
    pub(super) fn of(scope: &Scope) -> Self {
        let usage = COUNTED.into_iter().filter_map(|resource| {
            let (used, max) = scope.usage(resource)?;
            Some(ResourceUsage {
                resource,
                used,
                max,
                setting: setting(scope.id(), resource),
            })
        });
        Self {
            scope: scope.id().clone(),
            usage: usage.collect(),
        }
    }
}

/// One scope for each network of a sorted list.
pub(super) fn of_networks(
    networks: Vec<(IpNetwork, Resource, usize, usize)>,
) -> impl Iterator<Item = ScopeUsage> {
    let mut scopes: Vec<ScopeUsage> = Vec::new();
    for (network, resource, used, max) in networks {
        let scope = ResourceScope::Network(network);
        let usage = ResourceUsage {
            resource,
            used,
            max,
            setting: setting(&scope, resource),
        };
        match scopes.last_mut().filter(|last| last.scope == scope) {
            Some(last) => last.usage.push(usage),
            None => scopes.push(ScopeUsage {
                scope,
                usage: vec![usage],
            }),
        }
    }
    scopes.into_iter()
}
