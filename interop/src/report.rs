//! Tables: plain text for the terminal, Markdown for the documentation.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::matrix::{Outcome, Test};

const COLUMNS: [Test; 3] = [Test::Ping, Test::Identify, Test::Echo];

pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let header = header.iter().map(|&name| name.to_owned()).collect();
        Self { rows: vec![header] }
    }

    /// Adds a row, which has as many cells as the header.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.rows[0].len());
        self.rows.push(row);
    }

    /// Columns of equal width, with a rule below the header.
    pub(crate) fn text(&self) -> String {
        let widths = self.widths();
        let mut lines: Vec<_> = self
            .rows
            .iter()
            .map(|row| padded(row, &widths, "  "))
            .collect();
        let rule: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
        lines.insert(1, rule.join("  "));
        lines
            .iter()
            .map(|line| line.trim_end())
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn markdown(&self) -> String {
        let widths = self.widths();
        let line = |row: &Vec<String>| format!("| {} |", padded(row, &widths, " | "));
        let mut lines: Vec<_> = self.rows.iter().map(line).collect();
        let rule: Vec<_> = widths.iter().map(|&width| "-".repeat(width + 2)).collect();
        lines.insert(1, format!("|{}|", rule.join("|")));
        lines.join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let columns = 0..self.rows[0].len();
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
        };
        columns.map(|column| width(column).unwrap_or(0)).collect()
    }
}

fn padded(row: &[String], widths: &[usize], between: &str) -> String {
    let cells: Vec<_> = row
        .iter()
        .zip(widths)
        .map(|(cell, &width)| format!("{cell:width$}"))
        .collect();
    cells.join(between)
}

/// Whether a table shows what was measured, or only whether it went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Measured,
    Verdict,
}

pub(crate) fn matrix_table(outcomes: &[Outcome], detail: Detail) -> Table {
    let header = [
        "dialer", "listener", "security", "muxer", "keys", "ping", "identify", "echo",
    ];
    let mut table = Table::new(&header);
    for Outcome { row, cells, .. } in outcomes {
        let mut line = vec![
            row.dialer.name.clone(),
            row.listener.name.clone(),
            row.stack.security.to_string(),
            row.stack.muxer.to_string(),
            row.keys(),
        ];
        line.extend(COLUMNS.map(|test| match (cells.get(&test), detail) {
            (Some(Ok(_)), Detail::Verdict) => "ok".to_owned(),
            (Some(Ok(measured)), Detail::Measured) => measured.to_string(),
            (Some(Err(_)), _) => "FAILED".to_owned(),
            (None, _) => "-".to_owned(),
        }));
        table.push(line);
    }
    table
}

/// Replaces what stands between `<!-- name:begin -->` and `<!-- name:end -->`.
pub(crate) fn write_section(file: &Path, name: &str, content: &str) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file:?}"))?;
    let replaced = replace_section(&text, name, content)
        .with_context(|| format!("{file:?} has no section {name:?}"))?;
    fs::write(file, replaced).with_context(|| format!("cannot write {file:?}"))
}

fn replace_section(text: &str, name: &str, content: &str) -> Option<String> {
    let begin = format!("<!-- {name}:begin -->");
    let end = format!("<!-- {name}:end -->");
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{content}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_its_surroundings_stay() {
        let text = "a\n<!-- x:begin -->\nold\n<!-- x:end -->\nb\n";
        let replaced = replace_section(text, "x", "new").unwrap();
        assert_eq!(replaced, "a\n<!-- x:begin -->\nnew\n<!-- x:end -->\nb\n");
    }

    #[test]
    fn a_missing_section_is_not_invented() {
        assert_eq!(replace_section("<!-- x:begin -->", "x", "new"), None);
        assert_eq!(replace_section("text", "x", "new"), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["a", "b"]);
        table.push(vec!["long".into(), "x".into()]);
        assert_eq!(table.text(), "a     b\n----  -\nlong  x");
        assert_eq!(table.markdown(), "| a    | b |\n|------|---|\n| long | x |");
    }
}
