//! The timer of a connection's task.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use crate::Timer;

/// A timer that is touched as seldom as possible.
pub(super) struct Alarm {
    pub(super) timer: Pin<Box<dyn Timer>>,
    /// When it fires; `None` once it has fired.
    pub(super) armed: Option<Instant>,
}

impl Alarm {
    /// Ready when `at` has come. A timer that is set too early is left alone, since
    /// deadlines move later all the time: it is set again when it fires.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        at: Option<Instant>,
        now: Instant,
    ) -> Poll<()> {
        let Some(wanted) = at else {
            return Poll::Pending;
        };
        if wanted <= now {
            return Poll::Ready(());
        }
        if self.armed.is_none_or(|armed| armed > wanted) {
            self.arm(wanted);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.armed == Some(wanted) {
                self.armed = None;
                return Poll::Ready(());
            }
            self.arm(wanted);
        }
        Poll::Pending
    }

    fn arm(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
        self.armed = Some(at);
    }
}
