//! The guest's kernel: Debian's cloud kernel, fetched and unpacked but never installed.
//!
//! It becomes three things: an uncompressed `vmlinux` that QEMU enters through PVH; the modules that
//! are needed to reach a disk, for the initramfs; and a read-only ext4 with all modules. The root
//! of that disk is the *content* of `/usr/lib/modules/RELEASE`, so that is where a guest mounts it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::{Cache, CacheError, Claim, Entry, Shelf};
use crate::debian::apt::{Apt, AptError};
use crate::disk::ext4::WRITER_VERSION;
use crate::program::{DPKG_DEB, ProgramError};
use crate::progress::{Event, Progress, Step};

mod bzimage;
mod modules;

pub use bzimage::BzImageError;
pub use modules::ModulesError;

const META_PACKAGE: &str = "linux-image-cloud-amd64";
const PACKAGE_PREFIX: &str = "linux-image-";

/// A kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    folder: PathBuf,
    record: Record,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// What `uname -r` says.
    release: String,
    /// Of the Debian package.
    version: String,
    /// Of what made the modules disk.
    writer: u32,
    /// Over the kernel, its modules disk and the modules for the initramfs.
    digest: String,
    /// File names, in the order of loading.
    boot_modules: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("there is no guest kernel in {folder}; `fumehood setup` fetches one")]
    Missing { folder: PathBuf },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Apt(#[from] AptError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("Debian's package {package} does not lead to a kernel package")]
    NoKernelPackage { package: &'static str },
    #[error("the kernel package has no {what}")]
    Incomplete { what: &'static str },
    #[error("could not take the kernel out of its compressed form")]
    BzImage(#[from] BzImageError),
    #[error("could not make the kernel's modules ready")]
    Modules(#[from] ModulesError),
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Kernel {
    /// The newest one in the cache. Takes no time and needs no network.
    pub fn open(cache: &Cache) -> Result<Self, KernelError> {
        let missing = || KernelError::Missing { folder: cache.folder().to_owned() };
        cached(cache)?.next().ok_or_else(missing)
    }

    /// The one in the cache, or else the newest that Debian has.
    pub fn fetch(cache: &Cache, progress: Progress<'_>) -> Result<Self, KernelError> {
        match Self::open(cache) {
            Err(KernelError::Missing { .. }) => {}
            other => return other,
        }
        let claim = cache.claim(Shelf::Kernels, progress)?;
        match Self::open(cache) {
            Err(KernelError::Missing { .. }) => Self::fetch_newest(cache, &claim, progress),
            other => other,
        }
    }

    /// The newest that Debian has, fetched unless it is in the cache.
    pub fn refresh(cache: &Cache, progress: Progress<'_>) -> Result<Self, KernelError> {
        let claim = cache.claim(Shelf::Kernels, progress)?;
        Self::fetch_newest(cache, &claim, progress)
    }

    fn fetch_newest(
        cache: &Cache,
        claim: &Claim,
        progress: Progress<'_>,
    ) -> Result<Self, KernelError> {
        progress(Event::Began(Step::ReadPackageLists));
        let apt = Apt::new(cache.architecture(), progress)?;
        let mut dependencies = apt.show(META_PACKAGE)?.depends.into_iter();
        let package = dependencies.find(|name| name.starts_with(PACKAGE_PREFIX));
        let package = package.ok_or(KernelError::NoKernelPackage { package: META_PACKAGE })?;
        let version = apt.show(&package)?.version;
        let cached = cached(cache)?.find(|kernel| kernel.record.version == version);
        if let Some(kernel) = cached {
            return Ok(kernel);
        }
        progress(Event::Began(Step::FetchKernel));
        let deb = apt.download(&package, &version, progress)?;
        let draft = claim.draft()?;
        let record = build(&deb, version, draft.path(), progress)?;
        let debian = cache.architecture().debian();
        let name = format!("{}_{debian}_{WRITER_VERSION}", record.version);
        let folder = draft.publish(&name)?;
        Ok(Self { folder, record })
    }

    /// An uncompressed ELF with a PVH entry.
    pub fn vmlinux(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// A read-only ext4 whose root is the content of `/usr/lib/modules/RELEASE`.
    pub fn modules_disk(&self) -> PathBuf {
        self.folder.join("modules.ext4")
    }

    /// What `uname -r` says.
    pub fn release(&self) -> &str {
        &self.record.release
    }

    /// The version of the Debian package.
    pub fn version(&self) -> &str {
        &self.record.version
    }

    /// Hexadecimal SHA-256 over everything that a guest sees of this kernel.
    pub fn digest(&self) -> &str {
        &self.record.digest
    }

    /// The modules that reach disk and network, as compressed as Debian has them, in the order of
    /// loading.
    pub fn boot_modules(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let folder = self.folder.join("boot-modules");
        self.record.boot_modules.iter().map(move |name| folder.join(name))
    }
}

/// Those in the cache that were made as we would make them now, the newest first.
fn cached(cache: &Cache) -> Result<impl Iterator<Item = Kernel>, CacheError> {
    let entries = cache.entries(Shelf::Kernels)?.into_iter();
    let ours = entries.filter(|entry: &Entry<Record>| entry.record.writer == WRITER_VERSION);
    Ok(ours.map(|Entry { folder, record }| Kernel { folder, record }))
}

/// Fills `folder` with what is made from the package.
fn build(
    deb: &Path,
    version: String,
    folder: &Path,
    progress: Progress<'_>,
) -> Result<Record, KernelError> {
    let fault = |action| move |source| KernelError::Io { action, path: folder.to_owned(), source };
    progress(Event::Began(Step::UnpackKernel));
    let unpacked = tempfile::tempdir_in(folder).map_err(fault("make a folder in"))?;
    let arguments = [Path::new("-x"), deb, unpacked.path()];
    DPKG_DEB.run(folder, arguments)?;
    let modules = modules::Modules::find(unpacked.path())?;
    let packed = unpacked.path().join("boot").join(format!("vmlinuz-{}", modules.release()));
    let packed = fs::read(&packed).or(Err(KernelError::Incomplete { what: "kernel in /boot" }))?;
    let vmlinux = bzimage::vmlinux(&packed)?;
    fs::write(folder.join("vmlinux"), &vmlinux).map_err(fault("write vmlinux in"))?;

    progress(Event::Began(Step::WriteModules));
    modules.index()?;
    let boot_modules = modules.copy_boot_modules(&folder.join("boot-modules"))?;
    let disk = modules.write_disk(folder)?;
    let release = modules.release().to_owned();
    drop(modules);
    unpacked.close().map_err(fault("clear up in"))?;

    let digest = digest(&vmlinux, &disk.to_string(), folder, &boot_modules);
    let digest = digest.map_err(fault("read boot modules in"))?;
    let record = Record { release, version, writer: WRITER_VERSION, digest, boot_modules };
    let text = serde_json::to_vec_pretty(&record).map_err(io::Error::from);
    let written = text.and_then(|text| fs::write(folder.join("kernel.json"), text));
    written.map_err(fault("write kernel.json in"))?;
    Ok(record)
}

fn digest(
    vmlinux: &[u8],
    disk: &str,
    folder: &Path,
    boot_modules: &[String],
) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(vmlinux));
    hash.update(disk);
    for name in boot_modules {
        let content = fs::read(folder.join("boot-modules").join(name))?;
        hash.update(format!("{name:?}"));
        hash.update(Sha256::digest(content));
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
