//! `fumehood drive …`, and how a sandbox is given drives.

use clap::{Args, Subcommand};

use crate::mount::MountOption;
use crate::size;

/// Keep files in disks that outlive sandboxes
///
/// A drive has a name and a file system. `--mount PATH=DRIVE` of run and create mounts it: one
/// sandbox at a time may write to it. With `:snapshot`, any number of sandboxes read what it held
/// when its last writer stopped.
#[derive(Debug, Subcommand)]
pub(crate) enum Drive {
    Create(DriveCreate),
    /// List drives, what they take of the disk, and who writes to them
    Ls {
        /// Print an array of JSON objects, as the API has them
        #[arg(long)]
        json: bool,
    },
    Fork(DriveFork),
    Rm(DriveRm),
}

/// Make a drive, if it is not there
///
/// Its size is that of its file system; on this computer it takes space as it is written. A new one
/// belongs to the user of the sandbox that mounts it first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood drive create cache --size 20G
  fumehood run --mount /cache=cache -- sh -c 'echo hi > /cache/file'
  fumehood run --mount /cache=cache:snapshot -- cat /cache/file")]
pub(crate) struct DriveCreate {
    /// How much it holds, 64M to 8T [default: 1T]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub(crate) size: Option<u64>,

    /// Print the drive as JSON instead of its name
    #[arg(long)]
    pub(crate) json: bool,

    /// What to call it: letters, digits, - and _, at most 64
    pub(crate) name: String,
}

/// Make another drive with what a drive holds
///
/// It takes no time and no space: the two share what they have in common. What somebody is writing
/// just now is not in it, but what the last writer left when its sandbox stopped.
#[derive(Debug, Args)]
pub(crate) struct DriveFork {
    /// The drive
    pub(crate) name: String,

    /// What to call the new one
    pub(crate) fork: String,
}

/// Remove drives and all that is on them
///
/// One that a sandbox has is kept.
#[derive(Debug, Args)]
pub(crate) struct DriveRm {
    /// The drives
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Which drives a sandbox is given.
#[derive(Clone, Debug, Args)]
pub(crate) struct MountOptions {
    /// Mount a drive at an absolute path of the guest: to write, or as it was when its last writer
    /// stopped (:snapshot, or :ro); 4 at most
    #[arg(long, value_name = "PATH=DRIVE[:MODE]", value_parser = str::parse::<MountOption>)]
    pub(crate) mount: Vec<MountOption>,
}
