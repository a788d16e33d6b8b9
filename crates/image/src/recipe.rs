//! The default image: Debian with the tools that programs and agents expect, and Node.js.
//!
//! Debian's part is made by `mmdebstrap`, without root where the host allows user namespaces, and
//! comes as a tar stream; Node.js and npm come from npm's registry, pinned and checked. The two
//! are laid over one another and written as one disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::cache::{Cache, CacheError, Claim, Draft, Shelf};
use crate::catalog::{self, Config, DISK_NAME, Image, OpenError, Record};
use crate::debian::{SUITE, Sources, SourcesError};
use crate::disk::ext4::{self, ROOT_DISK, WRITER_VERSION, WriteError};
use crate::disk::neighbours::Neighbours;
use crate::disk::tar::{self, TarError};
use crate::disk::tree::{Limits, Time, Tree};
use crate::program::{MMDEBSTRAP, NEWUIDMAP, ProgramError};
use crate::progress::{Event, Progress, Step};

mod builder;
mod node;
mod release;

pub use builder::{BUILDER, build_builder};
pub use node::NodeError;
pub use release::build as build_release;

/// What the image is called.
pub const NAME: &str = "default";

/// Whom commands run as; has no password and may do everything through `sudo`.
const USER: &str = "fumehood";
const HOME: &str = "/home/fumehood";
/// The same in a sandbox with a runtime, and whose the runtimes are: whom scripts for Vercel Sandbox know.
const RUNTIME_USER: &str = "vercel-sandbox";
const ENV: [(&str, &str); 2] = [("LANG", "C.UTF-8"), ("PATH", PATH)];
/// The runtimes that are meant where none is named come before what every image has.
const PATH: &str = "/vercel/runtimes/node24/bin:/vercel/runtimes/python3.13/bin:\
    /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const PACKAGES: [&str; 16] = [
    "bash",
    "ca-certificates",
    "coreutils",
    "curl",
    "findutils",
    "git",
    "iproute2",
    "kmod",
    // Node.js 26 is linked with it.
    "libatomic1",
    // Any host name that a sandbox is given resolves, which sudo and others insist on.
    "libnss-myhostname",
    "procps",
    "python3",
    "python3-pip",
    "python3-venv",
    "sudo",
    "tar",
];

/// Settings for dpkg, which stay in the image: a sandbox that dies in the middle of an installation
/// is thrown away, so there is no need to wait for the disk; documentation is of no use to
/// programs, but licences have to be there.
const DPKG_SETTINGS: [&str; 6] = [
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
];

const APT_SETTINGS: [&str; 3] =
    ["APT::Install-Recommends \"false\"", "Acquire::Languages \"none\"", "Acquire::Retries \"3\""];

/// What is done in the image after all packages are there.
const CUSTOMIZE: &str = include_str!("recipe/customize.sh");

/// How often the stream is reported.
const REPORT_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Catalog(#[from] OpenError),
    #[error(transparent)]
    Sources(#[from] SourcesError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("could not read the tree that mmdebstrap made")]
    Tar(#[from] TarError),
    #[error(
        "this user has no subordinate user and group ids, of which the image's files are to be; root gives some: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
    )]
    NoIds(#[source] ProgramError),
    #[error("could not write the image's disk")]
    Disk(#[from] WriteError),
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// The default image in the cache, or else a new one. The first takes milliseconds.
pub fn build(cache: &Cache, progress: Progress<'_>) -> Result<Image, RecipeError> {
    if let Some(image) = cached(cache)? {
        return Ok(image);
    }
    let claim = cache.claim(Shelf::Images, progress)?;
    match cached(cache)? {
        Some(image) => Ok(image),
        None => build_new(cache, &claim, progress),
    }
}

/// A new default image, from what Debian has now. The one before stays in the cache, since disks
/// may stand on it.
pub fn rebuild(cache: &Cache, progress: Progress<'_>) -> Result<Image, RecipeError> {
    let claim = cache.claim(Shelf::Images, progress)?;
    build_new(cache, &claim, progress)
}

fn build_new(cache: &Cache, claim: &Claim, progress: Progress<'_>) -> Result<Image, RecipeError> {
    let called = Called { name: NAME.to_owned(), recipe: recipe_key(cache), config: config() };
    make(claim, called, progress, |tree| {
        progress(Event::Began(Step::FetchNode));
        let packages = node::fetch()?;
        let order = Order { suite: SUITE, packages: &PACKAGES, customize: Some(CUSTOMIZE) };
        install_packages(tree, &order, progress)?;
        packages.lay(tree)?;
        Ok(())
    })
}

/// What an image of packages is called, and what it says of itself.
struct Called {
    name: String,
    recipe: String,
    config: Config,
}

/// A new image of what `lay` puts into its tree.
fn make(
    claim: &Claim,
    called: Called,
    progress: Progress<'_>,
    lay: impl FnOnce(&mut Tree) -> Result<(), RecipeError>,
) -> Result<Image, RecipeError> {
    let Called { name, recipe, config } = called;
    let draft = claim.draft()?;
    let spool =
        tempfile::tempfile_in(draft.path()).map_err(fault("make a file in", draft.path()))?;
    let mut tree = Tree::new(spool, Limits::default());
    let began = made_at(draft.path())?;
    lay(&mut tree)?;
    tree.settle_times(Time { seconds: began, nanoseconds: 0 });

    progress(Event::Began(Step::WriteDisk));
    let disk = draft.path().join(DISK_NAME);
    let neighbours = Neighbours::of(draft.path());
    let digest = ext4::write_beside(neighbours.as_ref(), &tree, &disk, ROOT_DISK)?.to_string();
    let record = Record {
        name,
        recipe,
        manifest: None,
        created: u64::try_from(made_at(&disk)?).unwrap_or_default(),
        disk_bytes: ROOT_DISK.size_bytes,
        content_bytes: tree.content_bytes(),
        config,
        digest,
    };
    publish(draft, record)
}

fn publish(draft: Draft, record: Record) -> Result<Image, RecipeError> {
    let path = draft.path().join("image.json");
    let text = serde_json::to_vec_pretty(&record).map_err(io::Error::from);
    text.and_then(|text| fs::write(&path, text)).map_err(fault("write", &path))?;
    let name = format!("{}-{}", record.recipe, &record.digest[..16]);
    let folder = draft.publish(&name)?;
    Ok(Image::new(folder, record))
}

fn cached(cache: &Cache) -> Result<Option<Image>, OpenError> {
    let recipe = recipe_key(cache);
    let mut images = catalog::list(cache)?.into_iter();
    Ok(images.find(|image| image.recipe() == recipe))
}

/// Changes with everything that we decide about the image.
pub(crate) fn recipe_key(cache: &Cache) -> String {
    let debian = (SUITE, PACKAGES, DPKG_SETTINGS, APT_SETTINGS, CUSTOMIZE);
    let config = config_text();
    let config = (format_args!("{config}"), RUNTIME_USER);
    let all = (WRITER_VERSION, ROOT_DISK, cache.architecture(), debian, node::PINS, config);
    let digest = Sha256::digest(format!("{all:?}"));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Spelt out, so that keys stay as they are when a `Config` gets fields that no recipe sets.
fn config_text() -> String {
    let env = BTreeMap::from(ENV);
    format!("Config {{ user: {USER:?}, home: {HOME:?}, cwd: {HOME:?}, env: {env:?} }}")
}

fn config() -> Config {
    Config {
        user: USER.to_owned(),
        runtime_user: Some(RUNTIME_USER.to_owned()),
        cwd: HOME.to_owned(),
        env: ENV.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        entrypoint: Vec::new(),
        cmd: Vec::new(),
    }
}

/// What is installed.
struct Order<'a> {
    suite: &'a str,
    packages: &'a [&'a str],
    /// What is done in the image after all packages are there.
    customize: Option<&'a str>,
}

fn install_packages(
    tree: &mut Tree,
    order: &Order<'_>,
    progress: Progress<'_>,
) -> Result<(), RecipeError> {
    progress(Event::Began(Step::InstallPackages));
    let Order { suite, packages, customize } = *order;
    let sources = Sources::of_host()?.list(suite);
    let mode = if rustix::process::geteuid().is_root() {
        "root"
    } else {
        NEWUIDMAP.require()?;
        "unshare"
    };
    let prepare = |command: &mut std::process::Command| {
        // Were it set, Python's compiled files would be of the slower kind; times are ours to settle.
        command.env_remove("SOURCE_DATE_EPOCH");
        // Somewhere that the user of a namespace can be too.
        command.current_dir("/");
        command.args(["--variant=minbase", "--format=tar"]);
        command.arg(format!("--mode={mode}"));
        command.arg(format!("--include={}", packages.join(",")));
        command.args(DPKG_SETTINGS.map(|setting| format!("--dpkgopt={setting}")));
        command.args(APT_SETTINGS.map(|setting| format!("--aptopt={setting}")));
        command.args(customize.map(|hook| format!("--customize-hook={hook}")));
        command.args([suite, "-"]).args(sources.lines());
    };
    let said = |line: &str| {
        // It repeats the whole of a hook, which nobody wants to read.
        match line.strip_prefix("I: ") {
            Some(line) if !line.starts_with("running --") => progress(Event::Said(line)),
            Some(_) | None => {}
        }
    };
    MMDEBSTRAP
        .stream(prepare, said, |stdout| {
            let counted = Counted { source: stdout, bytes: 0, reported: 0, progress };
            tar::lay(counted, tree).map_err(RecipeError::from)
        })
        .map_err(explained)
}

/// mmdebstrap names the file, and not what is to be done.
fn explained(error: RecipeError) -> RecipeError {
    if let RecipeError::Program(failed @ ProgramError::Failed { .. }) = error {
        let is_of_ids = failed.to_string().contains("/etc/subuid");
        return if is_of_ids { RecipeError::NoIds(failed) } else { failed.into() };
    }
    error
}

/// Reports how much has come.
struct Counted<'a, R> {
    source: R,
    bytes: u64,
    reported: u64,
    progress: Progress<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        self.bytes += got as u64;
        if self.bytes - self.reported >= REPORT_BYTES {
            self.reported = self.bytes;
            (self.progress)(Event::Advanced { bytes: self.bytes, total: None });
        }
        Ok(got)
    }
}

/// When a file was last changed: the clock that we need, out of the file system.
fn made_at(path: &Path) -> Result<i64, RecipeError> {
    Ok(fs::metadata(path).map_err(fault("look at", path))?.mtime())
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecipeError {
    let path = path.to_owned();
    move |source| RecipeError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
