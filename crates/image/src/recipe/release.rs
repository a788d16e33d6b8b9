//! A release of Debian as it is: its smallest system, as its own container images have it, with
//! certificates, and nothing of ours.

use super::{
    APT_SETTINGS, DPKG_SETTINGS, Order, RecipeError, fault, install_packages, made_at, publish,
};
use crate::cache::{Cache, Shelf};
use crate::catalog::{Config, DEFAULT_PATH, DISK_NAME, Image, Record};
use crate::disk::ext4::{self, ROOT_DISK, WRITER_VERSION};
use crate::disk::tree::{Limits, Time, Tree};
use crate::progress::{Event, Progress, Step};
use crate::reference::{Reference, Suite};
use sha2::{Digest, Sha256};

/// `apt` among them, through the package that calls for it.
const PACKAGES: [&str; 2] = ["apt", "ca-certificates"];

/// A new image of the release, from what Debian has now. One before it stays in the cache, since
/// disks may stand on it.
pub fn build(cache: &Cache, suite: Suite, progress: Progress<'_>) -> Result<Image, RecipeError> {
    let claim = cache.claim(Shelf::Images, progress)?;
    let draft = claim.draft()?;
    let spool =
        tempfile::tempfile_in(draft.path()).map_err(fault("make a file in", draft.path()))?;
    let mut tree = Tree::new(spool, Limits::default());
    let began = made_at(draft.path())?;
    let order = Order { suite: suite.name(), packages: &PACKAGES, customize: None };
    install_packages(&mut tree, &order, progress)?;
    tree.settle_times(Time { seconds: began, nanoseconds: 0 });

    progress(Event::Began(Step::WriteDisk));
    let disk = draft.path().join(DISK_NAME);
    let digest = ext4::write(&tree, &disk, ROOT_DISK)?.to_string();
    let record = Record {
        name: Reference::Debian(suite).to_string(),
        recipe: key(cache, suite),
        manifest: None,
        created: u64::try_from(made_at(&disk)?).unwrap_or_default(),
        disk_bytes: ROOT_DISK.size_bytes,
        content_bytes: tree.content_bytes(),
        config: config(),
        digest,
    };
    publish(draft, record)
}

fn config() -> Config {
    Config {
        user: "root".to_owned(),
        account: None,
        home: "/root".to_owned(),
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
