//! Programs of the tests' own, for the host and a guest alike.

use std::path::{Path, PathBuf};

use crate::registry::run;

/// Makes a program of its source in this folder. Static, since nothing else may be where it runs.
pub(crate) fn compile(program: &Path, source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e").join(source);
    let options = ["-O", "--edition", "2024", "-C", "target-feature=+crt-static", "-o"];
    let paths = [program, &source].map(|path| path.to_str().unwrap());
    run("rustc", &[&options[..], &paths].concat());
    program.to_owned()
}
