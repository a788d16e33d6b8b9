//! Everything that a first sandbox needs: kernel, default image, templates. Done once; done again
//! it takes no time.

use image::{kernel::Kernel, progress::Event, recipe};
use machine::{KvmState, Qemu, Shape, TemplateError};

use crate::{
    causes,
    config::{AgentProgram, Paths},
    limits,
    platform::{self, PlatformError},
    templates::{MakeError, Templates, collect::Others},
    uplink::Uplink,
};

/// The shape of a sandbox that asks for nothing else.
pub(crate) const DEFAULT_SHAPE: Shape = Shape { vcpus: 1, memory_mib: limits::MEMORY_MIB_PER_VCPU };

/// How far a set-up is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupEvent<'a> {
    /// A step began, and so the one before it is done.
    Began(&'a str),
    /// Bytes done, and how many there are, if that is known.
    Advanced {
        bytes: u64,
        total: Option<u64>,
    },
    Percent(u8),
    /// What a program that the step runs has said.
    Said(&'a str),
    /// Something that a person should know; the set-up goes on.
    Warned(&'a str),
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{path} cannot be used")]
    Path { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("the guest kernel could not be fetched")]
    Kernel(#[source] image::kernel::KernelError),
    #[error("the default image could not be made")]
    Image(#[source] recipe::RecipeError),
    #[error("the templates' folder cannot be used")]
    Templates(#[from] TemplateError),
    #[error("no template could be made")]
    Make(#[from] MakeError),
    #[error("the set-up was broken off")]
    Closing,
}

/// Fetches and makes what is not there yet.
pub async fn setup(
    paths: &Paths,
    agent: AgentProgram,
    report: impl Fn(SetupEvent<'_>) + Send + Sync + Clone + 'static,
) -> Result<(), SetupError> {
    let io = |source| SetupError::Path { path: paths.state().to_owned(), source };
    paths.make().map_err(io)?;
    report(SetupEvent::Began("looking for QEMU"));
    Qemu::find(paths.qemu().as_deref()).await.map_err(PlatformError::from)?;
    build(paths.clone(), report.clone()).await?;
    report(SetupEvent::Began("trying KVM"));
    let (platform, kvm) = platform::find(paths, agent).await?;
    if let Some(warning) = kvm_warning(&kvm) {
        report(SetupEvent::Warned(&warning));
    }
    let image = platform::image(paths, "default").await?;
    let uplink = Uplink::of_host(|name| std::env::var(name).ok());
    let templates = Templates::open(paths, &uplink)?;
    let notice = |what: &str| report(SetupEvent::Began(what));
    Box::pin(templates.warm(&platform, DEFAULT_SHAPE, &image, &notice)).await?;
    templates.collected(platform, Others::KeptADay).await?;
    Ok(())
}

/// Kernel and image, which block.
async fn build(
    paths: Paths,
    report: impl Fn(SetupEvent<'_>) + Send + Sync + 'static,
) -> Result<(), SetupError> {
    let built = tokio::task::spawn_blocking(move || {
        let progress = |event: Event<'_>| match event {
            Event::Began(step) => report(SetupEvent::Began(&step.to_string())),
            Event::Advanced { bytes, total } => report(SetupEvent::Advanced { bytes, total }),
            Event::Percent(percent) => report(SetupEvent::Percent(percent)),
            Event::Said(line) => report(SetupEvent::Said(line)),
        };
        let cache = platform::cache(&paths).map_err(PlatformError::from)?;
        Kernel::fetch(&cache, &progress).map_err(SetupError::Kernel)?;
        recipe::build(&cache, &progress).map_err(SetupError::Image)?;
        Ok(())
    });
    built.await.unwrap_or(Err(SetupError::Closing))
}

/// The one line that says why guests are slow here; none where KVM works.
pub(crate) fn kvm_warning(kvm: &KvmState) -> Option<String> {
    let why = match kvm {
        KvmState::Works => return None,
        KvmState::OpensButDoesNotBoot { why } => format!("KVM opens but boots no guest ({why})"),
        KvmState::NotPermitted => "this user may not open /dev/kvm".to_owned(),
        KvmState::Absent => "there is no /dev/kvm".to_owned(),
    };
    Some(format!("{why}: guests are emulated, some ten times slower"))
}

/// An error and its causes, for a person.
pub fn explain(error: &SetupError) -> String {
    causes(error)
}
