//! Where state and cache lie.

use std::env;
use std::path::{Path, PathBuf};

use daemon::Paths;

use crate::failure::{Exit, Failure};

const QEMU: &str = "FUMEHOOD_QEMU";

/// All that a server of this user's works with.
pub(crate) fn paths() -> Result<Paths, Failure> {
    Ok(Paths::new(state()?, cache()?).with_qemu(qemu()?))
}

/// The emulator that is to be used, and no other. `FUMEHOOD_QEMU`.
fn qemu() -> Result<Option<PathBuf>, Failure> {
    let Some(named) = env::var_os(QEMU).filter(|named| !named.is_empty()) else { return Ok(None) };
    match absolute(QEMU) {
        Some(path) => Ok(Some(path)),
        None => {
            let found = named.display();
            Err(Failure::new(Exit::Usage, format!("{QEMU} is no absolute path: {found}")))
        }
    }
}

/// What the server keeps: sandboxes, templates, its socket. `FUMEHOOD_STATE_DIR`.
pub(crate) fn state() -> Result<PathBuf, Failure> {
    find("FUMEHOOD_STATE_DIR", "XDG_STATE_HOME", ".local/state")
}

/// What can be made again: images, kernels. `FUMEHOOD_CACHE_DIR`.
pub(crate) fn cache() -> Result<PathBuf, Failure> {
    find("FUMEHOOD_CACHE_DIR", "XDG_CACHE_HOME", ".cache")
}

/// What the user has told us to remember. `FUMEHOOD_CONFIG_DIR`.
pub(crate) fn config() -> Result<PathBuf, Failure> {
    find("FUMEHOOD_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")
}

/// The local server's socket.
pub(crate) fn socket(state: &Path) -> PathBuf {
    state.join("api.sock")
}

/// What the local server says when nobody watches it.
pub(crate) fn log(state: &Path) -> PathBuf {
    state.join("server.log")
}

fn find(own: &str, xdg: &str, below_home: &str) -> Result<PathBuf, Failure> {
    choose(own, absolute(own), absolute(xdg), absolute("HOME").map(|home| home.join(below_home)))
}

/// Our own variable names the folder itself; the others name a place for it.
fn choose(
    own_name: &str,
    own: Option<PathBuf>,
    xdg: Option<PathBuf>,
    home: Option<PathBuf>,
) -> Result<PathBuf, Failure> {
    own.or_else(|| xdg.or(home).map(|place| place.join("fumehood"))).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("set HOME or {own_name} to an absolute path"))
    })
}

/// A relative path means nothing to a server that stays.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_variable_wins_then_xdg_then_home() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (own, xdg, home, chosen) in [
            (path("/o"), path("/x"), path("/h"), Some("/o")),
            (None, path("/x"), path("/h"), Some("/x/fumehood")),
            (None, None, path("/h"), Some("/h/fumehood")),
            (None, None, None, None),
        ] {
            let found = choose("OWN", own, xdg, home).ok();
            assert_eq!(found.as_deref(), chosen.map(Path::new));
        }
    }
}
