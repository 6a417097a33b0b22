//! What a scenario found, and the table of all.

use std::fmt::{Display, Write as _};

/// What was measured in one run of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    checks: Vec<Check>,
}

/// One measured value and its limit.
#[derive(Clone, Debug)]
pub struct Check {
    /// What was measured.
    pub what: String,
    /// The value.
    pub measured: String,
    /// What it has to be.
    pub limit: String,
    /// Whether it is.
    pub passed: bool,
    /// Whether it depends on how busy the machine is, so that it is worth a second try.
    pub timing: bool,
}

impl Findings {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value with a greatest value.
    pub fn at_most<T: PartialOrd + Display>(self, what: &str, measured: T, max: T) -> Self {
        let passed = measured <= max;
        self.add(what, measured, format!("<= {max}"), passed)
    }

    /// A value with a least value.
    pub fn at_least<T: PartialOrd + Display>(self, what: &str, measured: T, min: T) -> Self {
        let passed = measured >= min;
        self.add(what, measured, format!(">= {min}"), passed)
    }

    /// A value that must be another one.
    pub fn equal<T: PartialEq + Display>(self, what: &str, measured: T, expected: T) -> Self {
        let passed = measured == expected;
        self.add(what, measured, expected, passed)
    }

    /// Something that has to hold.
    pub fn holds(self, what: &str, holds: bool) -> Self {
        self.equal(what, yes_or_no(holds), "yes")
    }

    /// The last value depends on how busy the machine is.
    pub fn timing(mut self) -> Self {
        if let Some(check) = self.checks.last_mut() {
            check.timing = true;
        }
        self
    }

    /// Takes the values of another list behind these.
    pub fn and(mut self, other: Self) -> Self {
        self.checks.extend(other.checks);
        self
    }

    /// Whether there is anything, and all of it is as it has to be.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    /// Whether only values failed that depend on how busy the machine is.
    pub fn failed_by_timing(&self) -> bool {
        let mut failed = self.checks.iter().filter(|check| !check.passed).peekable();
        failed.peek().is_some() && failed.all(|check| check.timing)
    }

    /// All values.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The values on one line.
    pub fn measured(&self) -> String {
        let values = self
            .checks
            .iter()
            .map(|it| format!("{} {}", it.what, it.measured));
        values.collect::<Vec<_>>().join("; ")
    }

    /// The limits on one line, each only once named.
    pub fn limits(&self) -> String {
        let limits: Vec<_> = self.checks.iter().map(|it| it.limit.clone()).collect();
        limits.join("; ")
    }

    /// What failed, on one line.
    pub fn failures(&self) -> String {
        let failed = self.checks.iter().filter(|it| !it.passed);
        failed
            .map(|it| format!("{} is {}, not {}", it.what, it.measured, it.limit))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn add(
        mut self,
        what: &str,
        measured: impl Display,
        limit: impl Display,
        passed: bool,
    ) -> Self {
        self.checks.push(Check {
            what: what.into(),
            measured: measured.to_string(),
            limit: limit.to_string(),
            passed,
            timing: false,
        });
        self
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// A line of the scoreboard.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario's id.
    pub id: String,
    /// What it does.
    pub title: String,
    /// What has to hold.
    pub criterion: String,
    /// What was found, or why the scenario could not be run.
    pub outcome: Result<Findings, String>,
    /// How it was seen to fail.
    pub seen_to_fail: String,
    /// How long it took, in milliseconds.
    pub millis: u128,
}

impl Row {
    /// Whether it passed.
    pub fn passed(&self) -> bool {
        matches!(&self.outcome, Ok(findings) if findings.passed())
    }

    /// The row for the terminal.
    pub fn line(&self) -> String {
        let verdict = if self.passed() { "pass" } else { "FAIL" };
        let measured = match &self.outcome {
            Ok(findings) if findings.passed() => findings.measured(),
            Ok(findings) => format!("{}  <<  {}", findings.measured(), findings.failures()),
            Err(error) => error.clone(),
        };
        format!(
            "{verdict} {:<24} {:>6} ms  {}: {measured}  [seen to fail: {}]",
            self.id, self.millis, self.title, self.seen_to_fail
        )
    }
}

/// The scoreboard as a table of Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let mut table = String::from(
        "| id | scenario | criterion | measured | limit | pass | seen to fail |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let (measured, limits) = match &row.outcome {
            Ok(findings) => (findings.measured(), findings.limits()),
            Err(error) => (error.clone(), String::new()),
        };
        let cells = [
            row.id.as_str(),
            &row.title,
            &row.criterion,
            &measured,
            &limits,
            if row.passed() { "yes" } else { "**no**" },
            &row.seen_to_fail,
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        // Writing to a string can't fail.
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    table
}

/// The page with the text between the markers of that name replaced; `None` if they are not there.
pub fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (head, rest) = page.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some(format!("{head}{begin}{text}{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_values_is_no_pass() {
        assert!(!Findings::new().passed());
        assert!(Findings::new().at_most("a", 1, 1).passed());
        assert!(!Findings::new().at_most("a", 2, 1).passed());
    }

    #[test]
    fn only_what_depends_on_the_machine_is_tried_again() {
        let slow = Findings::new().at_most("p99", 2, 1).timing();
        assert!(slow.failed_by_timing());
        assert!(!slow.holds("alive", false).failed_by_timing());
        assert!(!Findings::new().holds("alive", true).failed_by_timing());
    }

    #[test]
    fn the_text_between_markers_is_replaced() {
        let page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        let new = replaced(page, "x", "new\n");
        assert_eq!(new.as_deref(), Some("a\n<!-- x -->\nnew\n<!-- /x -->\nb\n"));
        assert_eq!(replaced(page, "y", ""), None);
    }
}
