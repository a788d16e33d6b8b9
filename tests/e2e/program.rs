//! Programs of the tests' own, for the host and a guest alike.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::registry::run;

/// Static, since nothing else may be where it runs.
pub(crate) fn compile(program: &Path, source: &str) -> PathBuf {
    let file = program.with_extension("rs");
    fs::write(&file, source).unwrap();
    let options = ["-O", "--edition", "2024", "-C", "target-feature=+crt-static", "-o"];
    let paths = [program, &file].map(|path| path.to_str().unwrap());
    run("rustc", &[&options[..], &paths].concat());
    program.to_owned()
}
