//! How long files are, who may use whom, and that no module has a name that says nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Longest file in lines.
const FILE_LINES_MAX: usize = 500;

/// Names that say nothing. A module is named for what it holds.
const EMPTY_NAMES: [&str; 8] =
    ["utils", "util", "helpers", "common", "misc", "manager", "types", "mod"];

/// Each crate, and the crates of ours that it may use: a star of depth two.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("api", &[]),
    ("protocol", &[]),
    ("machine", &[]),
    ("image", &["protocol"]),
    ("egress", &[]),
    ("xtask", &["egress"]),
    ("guest", &["protocol"]),
    ("daemon", &["api", "protocol", "machine", "image", "egress"]),
    ("fumehood", &["api", "daemon", "egress"]),
];

/// Which parts of `daemon` may know HTTP.
const KNOWS_HTTP: [&str; 2] = ["http", "server.rs"];

pub(crate) fn run() -> Result<()> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut faults = Vec::new();
    for (krate, may_use) in MAY_USE {
        let manifest = crates.join(krate).join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("{} cannot be read", manifest.display()))?;
        check_uses(krate, may_use, &text, &mut faults);
        for file in rust_files(&crates.join(krate).join("src")) {
            check_file(&file, &mut faults)?;
        }
    }
    check_http(&crates.join("daemon/src"), &mut faults)?;
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

fn check_uses(krate: &str, may_use: &[&str], manifest: &str, faults: &mut Vec<String>) {
    for (other, _) in MAY_USE {
        let prefixes = [format!("{other}.workspace"), format!("{other} = {{")];
        let used =
            manifest.lines().any(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)));
        if used && !may_use.contains(&other) {
            faults.push(format!("{krate} may not use {other}: see MAY_USE in xtask/src/tidy.rs"));
        }
    }
}

fn check_file(path: &Path, faults: &mut Vec<String>) -> Result<()> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&name) {
        faults.push(format!("{}: the name says nothing", path.display()));
    }
    let text = fs::read_to_string(path)?;
    let lines = text.lines().count();
    if FILE_LINES_MAX < lines {
        faults.push(format!("{}: {lines} lines, over {FILE_LINES_MAX}", path.display()));
    }
    if !text.starts_with("//!") && !path.components().any(|part| is_of_tests(part.as_os_str())) {
        faults.push(format!("{}: no module doc", path.display()));
    }
    Ok(())
}

fn is_of_tests(part: &std::ffi::OsStr) -> bool {
    part == "tests" || part == "tests.rs"
}

/// Only the HTTP server knows HTTP.
fn check_http(source: &Path, faults: &mut Vec<String>) -> Result<()> {
    for file in rust_files(source) {
        let below = file.strip_prefix(source).unwrap_or(&file);
        let first = below.components().next().map(|part| part.as_os_str().to_owned());
        let first = first.as_ref().and_then(|part| part.to_str()).unwrap_or_default();
        let knows =
            KNOWS_HTTP.contains(&first.trim_end_matches(".rs")) || KNOWS_HTTP.contains(&first);
        if !knows && fs::read_to_string(&file)?.contains("axum") {
            faults.push(format!("{}: only daemon/src/http may know HTTP", file.display()));
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
