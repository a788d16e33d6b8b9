//! How a long call tells its caller what it is doing.

use std::fmt;

/// Called with each [`Event`], sometimes from another thread. The library never prints.
pub type Progress<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// Something that a person waiting may want to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A step began, and so the one before it is done.
    Began(Step),
    /// How far the step is. `total` is known when it is not `None`.
    Advanced { bytes: u64, total: Option<u64> },
    /// How far the step is, where only a share of it is known.
    Percent(u8),
    /// A line that a program used by the step has said.
    Said(&'a str),
}

/// The steps of all long calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    WaitForOther,
    ReadPackageLists,
    FetchKernel,
    UnpackKernel,
    WriteModules,
    FetchNode,
    InstallPackages,
    ReadArchive,
    UnpackLayers,
    WriteDisk,
    WriteArchive,
    AskRegistry,
    FetchLayers,
    SendLayers,
    ReadDisk,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::WaitForOther => "waiting for another process that builds the same",
            Self::ReadPackageLists => "reading Debian's package lists",
            Self::FetchKernel => "fetching the guest kernel",
            Self::UnpackKernel => "unpacking the guest kernel",
            Self::WriteModules => "writing the modules disk",
            Self::FetchNode => "fetching Node.js and npm",
            Self::InstallPackages => "installing Debian packages into the image",
            Self::ReadArchive => "reading the archive",
            Self::UnpackLayers => "unpacking the image's layers",
            Self::WriteDisk => "writing the image's disk",
            Self::WriteArchive => "writing the archive",
            Self::AskRegistry => "asking the registry for the image",
            Self::FetchLayers => "fetching the image's layers",
            Self::ReadDisk => "making a layer of the disk",
            Self::SendLayers => "sending the image's layers",
        })
    }
}

/// Tells nobody.
pub fn silent(_: Event<'_>) {}
