//! Ctrl-C and its relatives.

use futures::{
    channel::oneshot,
    future::{Either, select},
};

use crate::failure::Failure;

/// Resolves at the first signal to stop; a second signal ends the process at once.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signal: oneshot::Receiver<()>,
}

impl Interrupt {
    pub(crate) fn install() -> Result<Self, Failure> {
        let (sender, signal) = oneshot::channel();
        let mut sender = Some(sender);
        let handler = move || match sender.take() {
            // Nobody waits any more when the command is over.
            Some(sender) => sender.send(()).unwrap_or_default(),
            None => std::process::exit(130),
        };
        ctrlc::set_handler(handler)
            .map_err(|error| Failure::local(format!("signals can't be handled: {error}")))?;
        Ok(Self { signal })
    }

    /// Runs `work` until it ends or a signal comes; then `work` is dropped.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match select(std::pin::pin!(work), &mut self.signal).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(Failure::interrupted()),
        }
    }
}
