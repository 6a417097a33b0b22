//! Progress bars on stderr.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `bytes`, or a counter when their number is not known. It is
/// shown when stderr is a terminal, and taken away at the end.
pub(crate) fn bytes(message: String, bytes: Option<u64>) -> Progress {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), BAR),
        None => (ProgressBar::no_length(), COUNTER),
    };
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    Progress(bar.with_style(style).with_message(message))
}

/// A bar that disappears when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

const BAR: &str =
    "{msg} [{wide_bar}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
const COUNTER: &str = "{msg} {decimal_bytes} {decimal_bytes_per_sec}";
