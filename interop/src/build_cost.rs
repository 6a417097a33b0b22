//! What it costs to build a small node, beside the same node on rust-libp2p.

use std::{fs, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, ensure};

/// The clean build of one program.
pub(crate) struct BuildCost {
    pub(crate) name: &'static str,
    pub(crate) crates: usize,
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    pub(crate) binary_bytes: u64,
}

/// The programs, by their folders in `interop/build-cost`. The second has the same four key types
/// as the first, the third has one.
const PROGRAMS: [&str; 3] = ["peerkit", "rust-libp2p", "rust-libp2p-ed25519"];

/// Builds each program from nothing, with all dependencies downloaded before.
pub(crate) fn measure(root: &Path) -> Result<Vec<BuildCost>> {
    PROGRAMS.into_iter().map(|name| build(root, name)).collect()
}

pub(crate) fn print(costs: &[BuildCost]) {
    println!("| program | crates compiled | CPU s | wall s | binary MiB |");
    println!("|---|---:|---:|---:|---:|");
    for cost in costs {
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.1} |",
            cost.name,
            cost.crates,
            cost.cpu_seconds,
            cost.wall_seconds,
            cost.binary_bytes as f64 / f64::from(1 << 20),
        );
    }
}

fn build(root: &Path, name: &'static str) -> Result<BuildCost> {
    let folder = root.join("interop/build-cost").join(name);
    let target = root.join("target/build-cost").join(name);
    if target.exists() {
        fs::remove_dir_all(&target).context("removing the last build")?;
    }
    cargo(&folder, &["fetch"], &target)?;
    let (cpu, start) = (children_cpu_seconds()?, Instant::now());
    cargo(&folder, &["build", "--release"], &target)?;
    let wall_seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = children_cpu_seconds()? - cpu;
    let binary = target.join("release").join(format!("build-cost-{name}"));
    Ok(BuildCost {
        name,
        crates: crates(&folder)?,
        cpu_seconds,
        wall_seconds,
        binary_bytes: fs::metadata(binary)?.len(),
    })
}

fn cargo(folder: &Path, arguments: &[&str], target: &Path) -> Result<()> {
    let status = Command::new("cargo")
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .status()?;
    ensure!(
        status.success(),
        "cargo {} failed in {}",
        arguments.join(" "),
        folder.display()
    );
    Ok(())
}

/// Crates in the graph of normal and build dependencies, the program included.
fn crates(folder: &Path) -> Result<usize> {
    let output = Command::new("cargo")
        .args([
            "tree",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(folder)
        .output()?;
    ensure!(
        output.status.success(),
        "cargo tree failed in {}",
        folder.display()
    );
    let text = String::from_utf8(output.stdout)?;
    let name_and_version = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let mut names: Vec<_> = text
        .lines()
        .filter(|it| !it.is_empty())
        .map(name_and_version)
        .collect();
    names.sort();
    names.dedup();
    Ok(names.len())
}

/// CPU time of all children that have ended, from Linux's process table.
fn children_cpu_seconds() -> Result<f64> {
    let stat =
        fs::read_to_string("/proc/self/stat").context("CPU time is read from Linux's /proc")?;
    let (_, fields) = stat
        .rsplit_once(") ")
        .context("an unknown format of /proc/self/stat")?;
    let ticks = |at: usize| -> Result<f64> {
        let field = fields.split(' ').nth(at).context("a field is missing")?;
        Ok(field.parse::<f64>()?)
    };
    // cutime and cstime are fields 16 and 17, two before the cut; Linux counts 100 ticks a second.
    Ok((ticks(13)? + ticks(14)?) / 100.0)
}
