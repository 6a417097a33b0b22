//! What goes on, on stderr: a bar on a terminal, plain lines elsewhere.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// One long work of known or unknown length.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A spinner for a work of unknown length.
    pub(crate) fn spinner(what: &str) -> Self {
        Self::start(
            ProgressBar::new_spinner(),
            "{spinner} {msg} {elapsed}",
            what,
        )
    }

    /// A bar of `steps` steps.
    pub(crate) fn bar(steps: usize, what: &str) -> Self {
        let bar = ProgressBar::new(steps as u64);
        Self::start(bar, "{bar:30} {pos}/{len} {msg}", what)
    }

    fn start(bar: ProgressBar, template: &str, what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            eprintln!("{what}");
            return Self { bar: None };
        }
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        bar.set_style(style);
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar: Some(bar) }
    }

    /// Says what the current step is, where there is a bar to show it.
    pub(crate) fn now(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// A line that stays.
    pub(crate) fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    pub(crate) fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
