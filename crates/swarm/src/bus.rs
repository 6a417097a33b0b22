//! Events, to whoever wants to read them, with a bound.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_broadcast::{InactiveReceiver, Receiver, RecvError, Sender};
use futures::Stream;

/// What an [`EventBus`] carries.
pub trait BusEvent: Clone {
    /// The event that tells a reader that it was too slow, and how many events it missed.
    fn lagged(missed: u64) -> Self;

    /// Whether others can cause it without end. Such an event is left out while a reader lags, so
    /// that a flood of them pushes no other event out. None is, unless the type says otherwise.
    fn is_minor(&self) -> bool {
        false
    }
}

/// The sending side of a service's events: bounded, and it never waits for a reader.
///
/// When it is full, the oldest event gives way, and who has not read it is told so by
/// [`BusEvent::lagged`].
///
/// ```
/// use peerkit_swarm::{BusEvent, EventBus};
///
/// #[derive(Clone, Debug, PartialEq)]
/// enum Weather {
///     Sun,
///     Rain,
///     Lagged(u64),
/// }
///
/// impl BusEvent for Weather {
///     fn lagged(missed: u64) -> Self {
///         Self::Lagged(missed)
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let bus = EventBus::new(1);
/// let mut events = bus.subscribe();
/// bus.emit(Weather::Sun);
/// bus.emit(Weather::Rain);
/// bus.close();
/// assert_eq!(events.next().await, Some(Weather::Lagged(1)));
/// assert_eq!(events.next().await, Some(Weather::Rain));
/// assert_eq!(events.next().await, None);
/// # });
/// ```
#[derive(Debug)]
pub struct EventBus<E> {
    sender: Sender<E>,
    /// Keeps the channel open while nobody listens.
    idle: InactiveReceiver<E>,
}

/// More places than any reader needs, in a few megabytes.
const CAPACITY_MAX: usize = 1 << 16;

impl<E: BusEvent> EventBus<E> {
    /// A bus that holds so many events for a slow reader; at least one, and at most 65,536, since
    /// their places are there from the beginning.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, CAPACITY_MAX);
        let (mut sender, receiver) = async_broadcast::broadcast(capacity);
        sender.set_overflow(true);
        sender.set_await_active(false);
        Self {
            sender,
            idle: receiver.deactivate(),
        }
    }

    /// A reader of what is emitted from now on. It shares the room with the others.
    pub fn subscribe(&self) -> EventStream<E> {
        EventStream {
            receiver: self.idle.activate_cloned(),
        }
    }

    /// Tells every reader. A [minor](BusEvent::is_minor) event takes no more than half of the room
    /// and is dropped beyond; another one that finds the room full takes the place of the oldest.
    /// After [`close`](Self::close) it does nothing.
    pub fn emit(&self, event: E) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        if event.is_minor() && self.sender.len() >= self.sender.capacity().div_ceil(2) {
            return;
        }
        // Fails only when the channel is closed, and then nobody cares.
        let _ = self.sender.try_broadcast(event);
    }

    /// Ends all readers, once they have read what is left.
    pub fn close(&self) {
        self.sender.close();
    }
}

/// A stream of events, from the moment on at which it was asked for.
///
/// It is bounded: a reader that lags behind loses the oldest events and is told how many by an
/// event of its own (`Lagged`). It never slows down who emits them. It ends when what it tells of is closed.
#[derive(Debug)]
pub struct EventStream<E> {
    receiver: Receiver<E>,
}

impl<E: BusEvent> EventStream<E> {
    /// The next event; `None` once there are no more.
    ///
    /// Cancel safety: no event is lost.
    pub async fn next(&mut self) -> Option<E> {
        futures::StreamExt::next(self).await
    }
}

impl<E: BusEvent> Stream for EventStream<E> {
    type Item = E;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<E>> {
        let event = ready!(Pin::new(&mut self.receiver).poll_recv(cx));
        Poll::Ready(match event {
            Some(Ok(event)) => Some(event),
            Some(Err(RecvError::Overflowed(missed))) => Some(E::lagged(missed)),
            Some(Err(RecvError::Closed)) | None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Event {
        Major(u8),
        Minor,
        Lagged(u64),
    }

    impl BusEvent for Event {
        fn lagged(missed: u64) -> Self {
            Self::Lagged(missed)
        }

        fn is_minor(&self) -> bool {
            matches!(self, Self::Minor)
        }
    }

    use Event::{Lagged, Major, Minor};

    /// What a reader still gets after the end.
    fn rest(bus: &EventBus<Event>, events: EventStream<Event>) -> Vec<Event> {
        bus.close();
        block_on(futures::StreamExt::collect(events))
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let bus = EventBus::new(2);
        let mut events = bus.subscribe();
        (0..5).for_each(|n| bus.emit(Major(n)));
        assert_eq!(block_on(events.next()), Some(Lagged(3)));
        assert_eq!(block_on(events.next()), Some(Major(3)));
        assert_eq!(rest(&bus, events), [Major(4)]);
    }

    #[test]
    fn a_slow_reader_takes_nothing_from_a_fast_one() {
        let bus = EventBus::new(1);
        let (mut fast, slow) = (bus.subscribe(), bus.subscribe());
        for n in 0..3 {
            bus.emit(Major(n));
            assert_eq!(block_on(fast.next()), Some(Major(n)));
        }
        assert_eq!(rest(&bus, slow), [Lagged(2), Major(2)]);
    }

    #[test]
    fn a_flood_of_minor_events_pushes_nothing_else_out() {
        let bus = EventBus::new(4);
        let events = bus.subscribe();
        bus.emit(Major(0));
        (0..100).for_each(|_| bus.emit(Minor));
        bus.emit(Major(1));
        assert_eq!(rest(&bus, events), [Major(0), Minor, Major(1)]);
    }

    #[test]
    fn a_reader_sees_only_what_comes_after_it() {
        let bus = EventBus::new(4);
        bus.emit(Major(0));
        let first = bus.subscribe();
        bus.emit(Major(1));
        let second = bus.subscribe();
        bus.emit(Major(2));
        assert_eq!(rest(&bus, first), [Major(1), Major(2)]);
        assert_eq!(rest(&bus, second), [Major(2)]);
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let bus = EventBus::new(4);
        let events = bus.subscribe();
        bus.close();
        bus.emit(Major(0));
        assert_eq!(rest(&bus, events), []);
        assert_eq!(rest(&bus, bus.subscribe()), []);
    }

    #[test]
    fn there_is_room_for_one_event_at_least() {
        let bus = EventBus::new(0);
        let events = bus.subscribe();
        bus.emit(Major(0));
        assert_eq!(rest(&bus, events), [Major(0)]);
    }

    #[test]
    fn the_largest_capacity_is_no_reason_to_panic() {
        let bus = EventBus::new(usize::MAX);
        let events = bus.subscribe();
        bus.emit(Major(0));
        assert_eq!(rest(&bus, events), [Major(0)]);
    }
}
