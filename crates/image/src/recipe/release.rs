//! A release of Debian as it is: its smallest system, as its own container images have it, with
//! certificates, and nothing of ours.

use super::{APT_SETTINGS, Called, DPKG_SETTINGS, Order, RecipeError, install_packages, make};
use crate::cache::{Cache, Shelf};
use crate::catalog::{Config, DEFAULT_PATH, Image};
use crate::disk::ext4::{ROOT_DISK, WRITER_VERSION};
use crate::progress::Progress;
use crate::reference::{Reference, Suite};
use sha2::{Digest, Sha256};

/// `apt` among them, through the package that calls for it.
const PACKAGES: [&str; 2] = ["apt", "ca-certificates"];

/// A new image of the release, from what Debian has now. One before it stays in the cache, since
/// disks may stand on it.
pub fn build(cache: &Cache, suite: Suite, progress: Progress<'_>) -> Result<Image, RecipeError> {
    let claim = cache.claim(Shelf::Images, progress)?;
    let called = Called {
        name: Reference::Debian(suite).to_string(),
        recipe: key(cache, suite),
        config: config(),
    };
    make(&claim, called, progress, |tree| {
        let order = Order { suite: suite.name(), packages: &PACKAGES, customize: None };
        install_packages(tree, &order, progress)
    })
}

fn config() -> Config {
    Config {
        user: "root".to_owned(),
        runtime_user: None,
        cwd: "/".to_owned(),
        env: vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())],
        entrypoint: Vec::new(),
        cmd: vec!["bash".to_owned()],
    }
}

/// Changes with everything that we decide about the image.
fn key(cache: &Cache, suite: Suite) -> String {
    let debian = (suite, PACKAGES, DPKG_SETTINGS, APT_SETTINGS);
    let all = (WRITER_VERSION, ROOT_DISK, cache.architecture(), debian);
    let digest = Sha256::digest(format!("{all:?}"));
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("debian-{digits}")
}
