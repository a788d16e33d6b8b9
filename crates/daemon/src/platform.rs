//! What this host's machines are made of: QEMU, the accelerator that works, kernel, initramfs and
//! images.

use std::{io, path::PathBuf, sync::Arc};

use image::{
    cache::{Cache, CacheError},
    catalog::{self, OpenError},
    initramfs::{self, InitramfsError},
    kernel::{Kernel, KernelError},
};
use machine::{Accel, Artifact, FindError, Format, KvmState, Layer, Platform, Qemu, probe_kvm};
use sha2::{Digest, Sha256};

use crate::{
    config::{AgentProgram, Paths},
    templates::BaseImage,
};

#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    #[error(transparent)]
    Qemu(#[from] FindError),
    #[error(transparent)]
    Cache(#[from] Arc<CacheError>),
    #[error(transparent)]
    Kernel(#[from] Arc<KernelError>),
    #[error("the initramfs cannot be made")]
    Initramfs(#[source] Arc<InitramfsError>),
    #[error(transparent)]
    Image(#[from] Arc<OpenError>),
    #[error("{path} cannot be written")]
    Write { path: PathBuf, source: Arc<io::Error> },
    #[error("the server is closing")]
    Closing,
}

/// Puts the platform together from what is installed and in the cache. KVM is tried once and the
/// answer kept; where it does not work the emulator takes its place.
pub(crate) async fn find(
    paths: &Paths,
    agent: AgentProgram,
) -> Result<(Platform, KvmState), PlatformError> {
    let qemu = Qemu::find(paths.qemu().as_deref()).await?;
    let (kernel, initramfs) = boot_files(paths.clone(), agent).await?;
    let modules = Artifact::known(kernel.modules_disk(), kernel.digest().to_owned());
    let mut platform = Platform {
        qemu,
        accel: Accel::Tcg,
        kernel: Artifact::known(kernel.vmlinux(), kernel.digest().to_owned()),
        initramfs,
        modules: Some(modules),
    };
    let pieces = paths.pieces();
    let kvm = probe_kvm(&platform, &pieces.join("kvm.json"), &paths.machines().join("kvm")).await;
    match crate::setup::kvm_warning(&kvm) {
        None => platform.accel = Accel::Kvm,
        Some(warning) => tracing::warn!("{warning}"),
    }
    Ok((platform, kvm))
}

async fn boot_files(
    paths: Paths,
    agent: AgentProgram,
) -> Result<(Kernel, Artifact), PlatformError> {
    let made = tokio::task::spawn_blocking(move || {
        let kernel = Kernel::open(&cache(&paths)?).map_err(Arc::new)?;
        let initramfs = write_initramfs(&paths, agent, &kernel)?;
        Ok((kernel, initramfs))
    });
    made.await.unwrap_or(Err(PlatformError::Closing))
}

/// Kept by its digest: who starts a machine on it finds it unchanged.
fn write_initramfs(
    paths: &Paths,
    agent: AgentProgram,
    kernel: &Kernel,
) -> Result<Artifact, PlatformError> {
    let bytes = initramfs::build(agent.0, kernel)
        .map_err(|error| PlatformError::Initramfs(Arc::new(error)))?;
    let digest = hex(&Sha256::digest(&bytes));
    let path = paths.pieces().join(format!("initramfs-{}", &digest[..16]));
    if !path.exists() {
        let written = (|| {
            let mut draft = tempfile::NamedTempFile::new_in(paths.pieces())?;
            io::Write::write_all(&mut draft, &bytes)?;
            draft.persist(&path).map(drop).map_err(|error| error.error)
        })();
        written.map_err(|error| PlatformError::Write {
            path: path.clone(),
            source: Arc::new(error),
        })?;
    }
    Ok(Artifact::known(path, digest))
}

/// The cache of kernels and images.
pub(crate) fn cache(paths: &Paths) -> Result<Cache, Arc<CacheError>> {
    Cache::open(paths.cache()).map_err(Arc::new)
}

/// The image of this name, which has to be in the cache.
pub(crate) async fn image(paths: &Paths, name: &str) -> Result<BaseImage, PlatformError> {
    let (paths, name) = (paths.clone(), name.to_owned());
    let opened = tokio::task::spawn_blocking(move || {
        let image = catalog::open(&cache(&paths)?, &name).map_err(Arc::new)?;
        Ok(base_image(&image))
    });
    opened.await.unwrap_or(Err(PlatformError::Closing))
}

pub(crate) fn base_image(image: &catalog::Image) -> BaseImage {
    let config = image.config();
    BaseImage {
        name: image.name().to_owned(),
        digest: image.digest().to_owned(),
        layer: Layer { path: image.disk(), format: Format::Raw },
        user: config.user.clone(),
        cwd: config.cwd.clone(),
        env: config.env.clone().into_iter().collect(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}
