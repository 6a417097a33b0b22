//! Every example runs to its end and prints what its header says.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

#[test]
fn every_example_prints_what_its_header_says() {
    let sources = sources();
    assert!(sources.len() >= 6, "{sources:?}");
    for source in sources {
        let expected = expected_output(&fs::read_to_string(&source).unwrap());
        let output = run(&source);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let name = source.display();
        assert!(
            output.status.success(),
            "{name}: {}\n{stderr}",
            output.status
        );
        let printed: Vec<_> = stdout.lines().collect();
        assert_eq!(printed.len(), expected.len(), "{name} printed:\n{stdout}");
        for (line, pattern) in printed.iter().zip(&expected) {
            assert!(
                matches(line, pattern),
                "{name} printed {line:?} in place of {pattern:?}"
            );
        }
    }
}

#[test]
fn every_example_is_short_and_in_the_readme() {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    for source in sources() {
        let lines = fs::read_to_string(&source).unwrap().lines().count();
        assert!(lines < 100, "{} has {lines} lines", source.display());
        let command = format!("--example {}", name_of(&source));
        assert!(
            readme.contains(&command),
            "README.md does not have {command:?}"
        );
    }
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut sources: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect();
    sources.sort();
    sources
}

fn name_of(source: &Path) -> &str {
    source.file_stem().unwrap().to_str().unwrap()
}

/// Cargo has built the examples before this test, and put them beside its folder.
fn run(source: &Path) -> Output {
    let test = env::current_exe().unwrap();
    let built = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples");
    let program = built
        .join(name_of(source))
        .with_extension(env::consts::EXE_EXTENSION);
    let output = Command::new(&program).output();
    output.unwrap_or_else(|error| panic!("{} can't be run: {error}", program.display()))
}

/// The lines below the first command of the header.
fn expected_output(source: &str) -> Vec<String> {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let block = header
        .map(str::trim)
        .skip_while(|line| !line.starts_with("$ cargo run"));
    let lines = block.skip(1).take_while(|line| !line.starts_with("```"));
    lines.map(str::to_owned).collect()
}

/// Whether the line is like the pattern, in which `..` stands for anything.
fn matches(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    let mut parts = pattern.split("..");
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || pattern.ends_with("..")
}
