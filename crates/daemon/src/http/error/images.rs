//! What went wrong with an image, to a code.

use std::sync::Arc;

use api::Code;
use image::{
    catalog::OpenError,
    oci::{
        commit::CommitError, convert::ConvertError, import::ImportError, layered::LayeredError,
        save::SaveError,
    },
    registry::RegistryError,
    volume::LayerFault,
};

use super::Failure;
use crate::{
    causes,
    images::{CopyError, ImageError},
};

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::new(image_code(&error), causes(&error))
    }
}

impl From<Arc<ImageError>> for Failure {
    fn from(error: Arc<ImageError>) -> Self {
        Self::new(image_code(&error), causes(&*error))
    }
}

pub(crate) fn image_code(error: &ImageError) -> Code {
    if error.is_disk_full() {
        return Code::DiskFull;
    }
    match error {
        ImageError::Reference(_) | ImageError::Elsewhere | ImageError::NoTarget(_) => {
            Code::BadRequest
        }
        ImageError::Layered(error) => layered_code(error),
        ImageError::Copy(error) => copy_code(error),
        ImageError::Commit(error) => commit_code(error),
        ImageError::Vercel(_) | ImageError::NotHere(_) | ImageError::Unknown(_) => {
            Code::ImageNotFound
        }
        ImageError::NotSetUp | ImageError::Settings(_) => Code::SetupNeeded,
        ImageError::Open(OpenError::Missing { .. }) => Code::ImageNotFound,
        ImageError::Gone(_) | ImageError::InUse(_) => Code::Conflict,
        ImageError::Registry { source, .. } | ImageError::Push { source, .. } => {
            registry_code(source)
        }
        ImageError::Convert { source, .. } => convert_code(source),
        ImageError::Import { source, .. } => import_code(source),
        ImageError::Save(SaveError::Layered(error)) => layered_code(error),
        ImageError::Closing => Code::Unavailable,
        ImageError::Save(_)
        | ImageError::Recipe { .. }
        | ImageError::Cache(_)
        | ImageError::Open(_)
        | ImageError::Names(_)
        | ImageError::Blob(_)
        | ImageError::Templates(_)
        | ImageError::Io { .. } => Code::Internal,
    }
}

fn registry_code(error: &RegistryError) -> Code {
    match error {
        RegistryError::NoRepository { .. } | RegistryError::NoTag { .. } => Code::ImageNotFound,
        RegistryError::LogIn { .. } | RegistryError::Forbidden { .. } => Code::ImageForbidden,
        RegistryError::PushLogIn { .. } | RegistryError::PushForbidden { .. } => {
            Code::ImageForbidden
        }
        RegistryError::Credentials(_) => Code::ImageForbidden,
        RegistryError::Reserved { .. } => Code::Forbidden,
        RegistryError::NotKept { .. } => Code::Conflict,
        RegistryError::RateLimited { .. } => Code::RegistryLimited,
        RegistryError::Platform { .. }
        | RegistryError::Manifest { .. }
        | RegistryError::Form { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::WrongDigest { .. } => Code::ImageUnusable,
        RegistryError::Unreachable { .. }
        | RegistryError::Untrusted { .. }
        | RegistryError::NoTls { .. }
        | RegistryError::Broken { .. }
        | RegistryError::Stalled { .. }
        | RegistryError::Status { .. }
        | RegistryError::Nonsense { .. }
        | RegistryError::Redirect { .. }
        | RegistryError::OtherManifest { .. }
        | RegistryError::Url(_) => Code::RegistryFailed,
        RegistryError::Cancelled => Code::Unavailable,
        RegistryError::Blob(_) | RegistryError::Threads(_) => Code::Internal,
    }
}

/// What is on a disk is its guest's doing.
fn layered_code(error: &LayeredError) -> Code {
    match error {
        LayeredError::NotKept { .. } => Code::Conflict,
        LayeredError::Volume { .. } | LayeredError::Stack { .. } => Code::ImageUnusable,
        LayeredError::Layer(LayerFault::Now(_)) => Code::ImageUnusable,
        LayeredError::Convert(error) => convert_code(error),
        LayeredError::Layer(LayerFault::Base(_) | LayerFault::Write(_))
        | LayeredError::Blob(_)
        | LayeredError::Note(_) => Code::Internal,
    }
}

fn copy_code(error: &CopyError) -> Code {
    match error {
        CopyError::Hold(_) | CopyError::LetGo(_) => Code::MachineFailed,
        CopyError::NoRoom { .. } => Code::LimitReached,
        CopyError::Io(_) => Code::Internal,
    }
}

fn commit_code(error: &CommitError) -> Code {
    match error {
        CommitError::Changes(_) => Code::BadRequest,
        CommitError::TooManyLayers | CommitError::Config(_) => Code::ImageUnusable,
        CommitError::Layered(error) => layered_code(error),
        CommitError::Convert(error) => convert_code(error),
        CommitError::Blob(_) => Code::Internal,
    }
}

fn import_code(error: &ImportError) -> Code {
    match error {
        ImportError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Code::ImageNotFound
        }
        ImportError::NoSuchName { .. } | ImportError::Several { .. } => Code::ImageNotFound,
        ImportError::Convert(error) => convert_code(error),
        ImportError::Tar { .. }
        | ImportError::Unknown { .. }
        | ImportError::Part { .. }
        | ImportError::Json { .. }
        | ImportError::Manifest { .. }
        | ImportError::Config { .. }
        | ImportError::Limit { .. }
        | ImportError::Platform(_) => Code::ImageUnusable,
        ImportError::Io { .. } | ImportError::Blob(_) => Code::Internal,
    }
}

/// What is wrong with the image is its maker's; what is wrong with the cache is ours.
fn convert_code(error: &ConvertError) -> Code {
    match error {
        ConvertError::Manifest { .. }
        | ConvertError::Index { .. }
        | ConvertError::Config { .. }
        | ConvertError::LayerCount { .. }
        | ConvertError::Platform(_)
        | ConvertError::Layer { .. }
        | ConvertError::Disk(_) => Code::ImageUnusable,
        ConvertError::Blob(_)
        | ConvertError::Cache(_)
        | ConvertError::Catalog(_)
        | ConvertError::Names(_)
        | ConvertError::Io { .. } => Code::Internal,
    }
}
