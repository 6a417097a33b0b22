//! Taking turns: first come, first served.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex},
};

use futures::channel::oneshot;
use peerkit_core::lock;

/// A value that callers use one after the other, in the order in which they asked.
///
/// Who is next does not depend on how long anybody has waited by a clock, so that a
/// simulation replays.
pub(crate) struct Turns<T> {
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    /// `None` while somebody has the value.
    idle: Option<T>,
    /// As many as there are callers that wait.
    waiting: VecDeque<oneshot::Sender<Turn<T>>>,
}

impl<T> Turns<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                idle: Some(value),
                waiting: VecDeque::new(),
            })),
        }
    }

    /// Waits for a turn.
    ///
    /// Cancel safety: dropping the future gives the turn to the next one.
    pub(crate) async fn take(&self) -> Turn<T> {
        let turn = {
            let mut state = lock(&self.state);
            if let Some(value) = state.idle.take() {
                return self.turn(value);
            }
            state.waiting.retain(|waiting| !waiting.is_canceled());
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back(sender);
            turn
        };
        turn.await.expect("a turn passes to all who wait for it")
    }

    fn turn(&self, value: T) -> Turn<T> {
        Turn {
            state: self.state.clone(),
            value: Some(value),
        }
    }
}

/// The right to use the value, until it is dropped.
pub(crate) struct Turn<T> {
    state: Arc<Mutex<State<T>>>,
    /// `None` once it was passed on.
    value: Option<T>,
}

impl<T> Deref for Turn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
            .as_ref()
            .expect("it is passed on by the drop only")
    }
}

impl<T> DerefMut for Turn<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
            .as_mut()
            .expect("it is passed on by the drop only")
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        while let Some(value) = self.value.take() {
            let mut state = lock(&self.state);
            let Some(next) = state.waiting.pop_front() else {
                state.idle = Some(value);
                return;
            };
            drop(state);
            let turn = Self {
                state: self.state.clone(),
                value: Some(value),
            };
            // Who has given up leaves the turn to the next one.
            if let Err(mut turn) = next.send(turn) {
                self.value = turn.value.take();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn callers_come_in_the_order_in_which_they_asked() {
        let turns = Turns::new(0);
        let mut first = turns.take().now_or_never().unwrap();
        let (mut second, mut third) = (Box::pin(turns.take()), Box::pin(turns.take()));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        *first += 1;
        drop(first);
        assert!(
            turns.take().now_or_never().is_none(),
            "nobody comes before them"
        );
        assert!((&mut third).now_or_never().is_none());
        let second = (&mut second).now_or_never().unwrap();
        assert_eq!(*second, 1);
        drop(second);
        assert!((&mut third).now_or_never().is_some());
    }

    #[test]
    fn who_gives_up_leaves_the_turn_to_the_next_one() {
        let turns = Turns::new(());
        let first = turns.take().now_or_never().unwrap();
        let [mut early, mut late, mut last] = [(); 3].map(|()| Box::pin(turns.take()));
        for waiting in [&mut early, &mut late, &mut last] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(early);
        drop(first);
        // It was given the turn, but has not seen it.
        drop(late);
        assert!((&mut last).now_or_never().is_some());
        assert!(turns.take().now_or_never().is_some());
    }
}
