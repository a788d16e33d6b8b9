//! `cargo xtask mutate`: takes checks of the gateway out, one at a time, and shows that a named case
//! of the gauntlet fails without each.
//!
//! It works on a copy of the sources with a build folder of its own, both below `target/mutate`. It
//! takes a minute or so for each check, and root, as the gauntlet does.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "it says how long it takes"
)]

mod table;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use table::{Mutation, TABLE};

/// What became of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its case failed, as it must.
    Caught,
    /// Its case passed: the check is not tested, or is not needed.
    Survived,
    /// It does not compile.
    Broken,
}

/// Where everything is.
struct Copy {
    tree: PathBuf,
    build: PathBuf,
}

/// Runs the mutations whose names contain one of `wanted`, or all.
#[expect(clippy::print_stdout, reason = "it talks to a developer")]
pub(crate) fn run(wanted: &[&str]) -> Result<()> {
    let chosen: Vec<&Mutation> = TABLE
        .iter()
        .filter(|one| wanted.is_empty() || wanted.iter().any(|text| one.name.contains(text)))
        .collect();
    ensure!(!chosen.is_empty(), "no mutation has such a name");
    let copy = Copy::make()?;
    copy.build(Stdio::inherit()).context("the copy does not build")?;
    let cases: BTreeSet<&str> = chosen.iter().map(|one| one.case).collect();
    println!("without any mutation: {} cases", cases.len());
    ensure!(copy.passes(&cases)?, "a case fails without any mutation");
    let mut survivors = Vec::new();
    for mutation in chosen {
        let began = Instant::now();
        let fate = copy.try_out(mutation)?;
        let seconds = began.elapsed().as_secs();
        println!("{fate:<8?}  {:<40}  {}  ({seconds} s)", mutation.name, mutation.case);
        if fate != Fate::Caught {
            survivors.push(mutation.name);
        }
    }
    if !survivors.is_empty() {
        bail!("not caught: {}", survivors.join(", "));
    }
    Ok(())
}

impl Copy {
    /// The files that git knows, as they are in the working tree. Files that did not change are left
    /// alone, so that little is built again.
    fn make() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let folder = root.join("target/mutate");
        let copy = Self { tree: folder.join("tree"), build: folder.join("build") };
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()?;
        ensure!(output.status.success(), "git ls-files failed");
        for name in String::from_utf8(output.stdout)?.split_terminator('\0') {
            let (from, to) = (root.join(name), copy.tree.join(name));
            // One that was deleted is still known.
            let Ok(bytes) = fs::read(&from) else { continue };
            if fs::read(&to).is_ok_and(|old| old == bytes) {
                continue;
            }
            fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
            fs::copy(&from, &to).with_context(|| format!("{} to be copied", from.display()))?;
        }
        Ok(copy)
    }

    fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(words).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.build);
        command.stdin(Stdio::null());
        command
    }

    fn build(&self, said: Stdio) -> Result<()> {
        let mut build = self.cargo(&["build", "--quiet", "--locked", "-p", "fumehood"]);
        let status = build.stderr(said).status()?;
        ensure!(status.success(), "cargo build failed");
        Ok(())
    }

    fn passes(&self, cases: &BTreeSet<&str>) -> Result<bool> {
        let cache = cache()?;
        let mut words = vec!["test", "--quiet", "--locked", "-p", "tests", "--test", "gauntlet"];
        words.extend(["--", "--exact"]);
        words.extend(cases.iter().copied());
        let output = self
            .cargo(&words)
            .env("FUMEHOOD_TEST_BINARY", self.build.join("debug/fumehood"))
            .env("FUMEHOOD_TEST_GAUNTLET", prepared(&cache)?)
            .env("FUMEHOOD_TEST_CACHE", cache)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        fs::write(self.build.join("last-gauntlet.log"), [output.stdout, output.stderr].concat())?;
        let passed = said.matches(" ... ok").count();
        let failed = said.matches(" ... FAILED").count();
        ensure!(passed + failed == cases.len(), "not all of {cases:?} ran: {said}");
        Ok(failed == 0)
    }

    /// With the one mutation and no other.
    fn try_out(&self, mutation: &Mutation) -> Result<Fate> {
        let path = self.tree.join(mutation.file);
        let whole = fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let found = whole.matches(mutation.find).count();
        ensure!(found == 1, "{}: what it replaces is there {found} times", mutation.name);
        fs::write(&path, whole.replace(mutation.find, mutation.replace))?;
        let fate = self.fate(mutation);
        fs::write(&path, whole)?;
        fate
    }

    fn fate(&self, mutation: &Mutation) -> Result<Fate> {
        // It is warned of what the check used.
        if self.build(Stdio::null()).is_err() {
            return Ok(Fate::Broken);
        }
        let passes = self.passes(&BTreeSet::from([mutation.case]))?;
        Ok(if passes { Fate::Survived } else { Fate::Caught })
    }
}

fn cache() -> Result<PathBuf> {
    if let Some(named) = env::var_os("FUMEHOOD_TEST_CACHE") {
        return Ok(named.into());
    }
    let home = env::var_os("HOME").context("HOME is not set")?;
    Ok(Path::new(&home).join(".cache/fumehood"))
}

/// What `tests/gauntlet/prepare.sh` made: the newest.
fn prepared(cache: &Path) -> Result<PathBuf> {
    if let Some(named) = env::var_os("FUMEHOOD_TEST_GAUNTLET") {
        return Ok(named.into());
    }
    let folders = fs::read_dir(cache.join("gauntlet")).into_iter().flatten().flatten();
    let complete = folders.filter_map(|entry| {
        let made = entry.path().join("complete").metadata().ok()?.modified().ok()?;
        Some((made, entry.path()))
    });
    complete.max().map(|(_, path)| path).context("run ./test.sh once: it prepares the gauntlet")
}
