//! The builder: a Debian with a stock buildah, in which images are built of a Dockerfile.

use super::{
    APT_SETTINGS, Called, DPKG_SETTINGS, Order, RecipeError, SUITE, install_packages, make,
};
use crate::cache::{Cache, Shelf};
use crate::catalog::{self, Config, DEFAULT_PATH, Image};
use crate::disk::ext4::{ROOT_DISK, WRITER_VERSION};
use crate::progress::Progress;
use sha2::{Digest, Sha256};

/// What the image is called.
pub const BUILDER: &str = "fumehood:builder";

/// buildah asks for `netavark` also where it makes no network.
const PACKAGES: [&str; 5] = ["apt", "buildah", "ca-certificates", "kmod", "netavark"];

/// Names without a registry are Docker's.
const CUSTOMIZE: &str = r#"set -eu
root=$1
mkdir -p "$root/usr/lib/modules" "$root/build" "$root/etc/containers/registries.conf.d"
echo 'unqualified-search-registries = ["docker.io"]' >"$root/etc/containers/registries.conf.d/fumehood.conf"
"#;

/// The builder in the cache, or else a new one, of what Debian has now.
pub fn build_builder(cache: &Cache, progress: Progress<'_>) -> Result<Image, RecipeError> {
    let claim = cache.claim(Shelf::Images, progress)?;
    let recipe = key(cache);
    if let Some(image) = catalog::list(cache)?.into_iter().find(|image| image.recipe() == recipe) {
        return Ok(image);
    }
    let called = Called { name: BUILDER.to_owned(), recipe, config: config() };
    make(&claim, called, progress, |tree| {
        let order = Order { suite: SUITE, packages: &PACKAGES, customize: Some(CUSTOMIZE) };
        install_packages(tree, &order, progress)
    })
}

fn config() -> Config {
    Config {
        user: "root".to_owned(),
        runtime_user: None,
        cwd: "/build".to_owned(),
        env: vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())],
        entrypoint: Vec::new(),
        cmd: vec!["bash".to_owned()],
    }
}

/// Changes with everything that we decide about the image.
fn key(cache: &Cache) -> String {
    let debian = (SUITE, PACKAGES, DPKG_SETTINGS, APT_SETTINGS, CUSTOMIZE);
    let all = (WRITER_VERSION, ROOT_DISK, cache.architecture(), debian);
    let digest = Sha256::digest(format!("{all:?}"));
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("builder-{digits}")
}
