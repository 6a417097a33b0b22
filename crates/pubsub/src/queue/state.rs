//! What waits, and in which order it leaves.

use std::{collections::VecDeque, task::Waker, time::Instant};

use event_listener::Event;

use super::{
    filling::{Filling, Sent},
    lane::Lane,
};
use crate::{
    Control, Extensions, MessageId, Outgoing, Partial, SubscriptionChange, patience::Patience,
};

#[derive(Debug)]
pub(super) struct State {
    pub(super) closed: bool,
    /// Something is on its way to the stream.
    pub(super) writing: bool,
    /// Since when the stream takes nothing.
    pub(super) blocked_since: Option<Instant>,
    /// The topics that the peer is told of on a new stream.
    pub(super) topics: Vec<SubscriptionChange>,
    pub(super) extensions: Option<Extensions>,
    pub(super) extensions_due: bool,
    pub(super) subscriptions: VecDeque<SubscriptionChange>,
    pub(super) control: Control,
    pub(super) own: Lane,
    pub(super) forwarded: Lane,
    /// Own messages found no room, and there is not much of it yet.
    pub(super) full: bool,
    pub(super) patience: Patience,
    pub(super) gossip: VecDeque<Control>,
    pub(super) gossip_ids: usize,
    pub(super) partials: VecDeque<Partial>,
    pub(super) test_extension: bool,
    pub(super) writer: Option<Waker>,
}

impl State {
    pub(super) fn hello(
        &mut self,
        topics: Vec<SubscriptionChange>,
        extensions: Option<Extensions>,
    ) {
        self.subscriptions = topics.iter().cloned().collect();
        self.topics = topics;
        self.extensions = extensions;
        self.extensions_due = extensions.is_some();
    }

    /// The last word on a topic counts.
    pub(super) fn subscription(&mut self, change: SubscriptionChange) {
        self.topics.retain(|it| it.topic != change.topic);
        if change.subscribe {
            self.topics.push(change.clone());
        }
        self.subscriptions.retain(|it| it.topic != change.topic);
        self.subscriptions.push_back(change);
    }

    /// Merged, so that GRAFT and PRUNE, which are never dropped, take no more room than there are topics.
    pub(super) fn control(&mut self, more: Control, ids_max: usize) -> Option<Control> {
        let own = &mut self.control;
        for topic in more.graft {
            own.prune.retain(|it| it.topic != topic);
            if !own.graft.contains(&topic) {
                own.graft.push(topic);
            }
        }
        for prune in more.prune {
            own.graft.retain(|it| *it != prune.topic);
            own.prune.retain(|it| it.topic != prune.topic);
            own.prune.push(prune);
        }
        own.extensions = more.extensions.or(own.extensions);
        let mut lost = Control {
            idontwant: append(&mut own.idontwant, more.idontwant, ids_max),
            iwant: append(&mut own.iwant, more.iwant, ids_max),
            ..Control::default()
        };
        if own.ihave.len() + more.ihave.len() <= IHAVE_MAX {
            own.ihave.extend(more.ihave);
        } else {
            lost.ihave = more.ihave;
        }
        (lost != Control::default()).then_some(lost)
    }

    pub(super) fn gossip(&mut self, control: Control, ids_max: usize, lost: &mut Vec<Outgoing>) {
        self.gossip_ids += id_count(&control);
        self.gossip.push_back(control);
        while self.gossip.len() > 1
            && (self.gossip_ids > ids_max || self.gossip.len() > GOSSIP_MAX)
            && let Some(oldest) = self.gossip.pop_front()
        {
            self.gossip_ids -= id_count(&oldest);
            lost.push(Outgoing::Gossip(oldest));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
            && !self.extensions_due
            && self.control == Control::default()
            && self.own.entries.is_empty()
            && self.forwarded.entries.is_empty()
            && self.gossip.is_empty()
            && self.partials.is_empty()
            && !self.test_extension
    }

    fn has_messages(&self) -> bool {
        !self.own.entries.is_empty() || !self.forwarded.entries.is_empty()
    }

    /// Lets own messages in again once half of the room is free.
    pub(super) fn check_room(&mut self, room: &Event) {
        if self.full && self.own.is_half_empty() {
            self.full = false;
            room.notify(usize::MAX);
        }
    }

    pub(super) fn fill(&mut self, filling: &mut Filling<'_>) {
        if let Some(extensions) = self.extensions
            && std::mem::take(&mut self.extensions_due)
        {
            filling.encoder.extensions(extensions, filling.out);
        }
        while let Some(change) = self.subscriptions.front()
            && filling.has_room(change.topic.as_str().len() + 8)
            && let Some(change) = self.subscriptions.pop_front()
        {
            filling.encoder.subscription(&change, filling.out);
            filling.log(|| Sent::Subscription(change));
        }
        if self.subscriptions.is_empty() {
            self.fill_behind_subscriptions(filling);
        }
        filling.encoder.finish(filling.out);
    }

    fn fill_behind_subscriptions(&mut self, filling: &mut Filling<'_>) {
        if self.control != Control::default() && filling.has_room(0) {
            let control = std::mem::take(&mut self.control);
            filling.encoder.control(&control, filling.out);
            if !control.idontwant.is_empty() && self.has_messages() {
                filling.ahead = true;
                return;
            }
        }
        self.own.fill(filling, Sent::Own);
        self.forwarded.fill(filling, Sent::Forwarded);
        while filling.has_room(0)
            && let Some(control) = self.gossip.pop_front()
        {
            self.gossip_ids -= id_count(&control);
            filling.encoder.control(&control, filling.out);
        }
        while filling.has_room(0)
            && let Some(partial) = self.partials.pop_front()
        {
            filling.encoder.partial(&partial, filling.out);
        }
        if std::mem::take(&mut self.test_extension) {
            filling.encoder.test_extension(filling.out);
        }
    }
}

/// IHAVE entries among urgent control messages, where they are not usual.
const IHAVE_MAX: usize = 1000;
/// Gossip items.
const GOSSIP_MAX: usize = 256;

fn id_count(control: &Control) -> usize {
    let ihave: usize = control.ihave.iter().map(|it| it.ids.len()).sum();
    ihave + control.iwant.len() + control.idontwant.len()
}

/// Appends what fits and returns the rest.
fn append(ids: &mut Vec<MessageId>, mut more: Vec<MessageId>, max: usize) -> Vec<MessageId> {
    let room = max.saturating_sub(ids.len()).min(more.len());
    let rest = more.split_off(room);
    ids.append(&mut more);
    rest
}
