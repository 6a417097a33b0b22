//! Standard input.

use futures::{AsyncBufReadExt, Stream, io::BufReader};

/// Waits for the end of stdin, or for ever.
pub(crate) async fn end(is_awaited: bool) {
    if !is_awaited {
        return futures::future::pending().await;
    }
    let stdin = blocking::Unblock::new(std::io::stdin());
    // What can't be read any more has ended, too.
    let _ = futures::io::copy(stdin, &mut futures::io::sink()).await;
}

/// The lines of stdin.
pub(crate) fn lines() -> impl Stream<Item = std::io::Result<String>> + Unpin {
    BufReader::new(blocking::Unblock::new(std::io::stdin())).lines()
}
