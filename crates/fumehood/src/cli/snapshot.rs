//! `fumehood snapshot …`, and how a sandbox's disk is kept.

use std::time::Duration;

use api::{CreateSandbox, KeepLastSnapshots};
use clap::{Args, Subcommand};

use crate::duration;

/// Take a snapshot of a sandbox's disk, or of its memory too, or look at those there are
///
/// `fumehood snapshot SANDBOX` makes the disk of a sandbox that runs a snapshot and prints its id. The
/// sandbox stops with it; the next command resumes it. A snapshot takes as much of the disk as its
/// sandbox has written since the one before, and stays until `snapshot rm`.
///
/// With --memory the sandbox stands still for a moment and goes on, and any number of sandboxes can be
/// started from the snapshot that begin with its processes as they are now, as `fumehood fork` makes them.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  id=$(fumehood snapshot box)
  fumehood create --snapshot $id                another sandbox that starts where box was
  fumehood snapshot box --memory --name warm    with the programs that run; box goes on
  fumehood create --snapshot warm               they go on in this one too
  fumehood snapshot ls box"
)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    pub(crate) command: Option<SnapshotCommand>,

    #[command(flatten)]
    pub(crate) take: SnapshotTake,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotTake {
    /// Delete it when it was not used for this long, such as 30d; a day at least [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) expires: Option<Duration>,

    /// Keep the memory and the processes too; the sandbox goes on
    #[arg(long)]
    pub(crate) memory: bool,

    /// What it can be called instead of its id; no other snapshot may have the name
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) called: Option<String>,

    /// Print the snapshot as JSON instead of its id
    #[arg(long)]
    pub(crate) json: bool,

    /// The sandbox
    #[arg(required = true, value_name = "SANDBOX")]
    pub(crate) sandbox: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// List snapshots, the newest first
    Ls {
        /// Print an array of JSON objects, as the API has them
        #[arg(long)]
        json: bool,

        /// Those that were deleted lately too
        #[arg(short, long)]
        all: bool,

        /// Only those of this sandbox
        name: Option<String>,
    },
    /// Print all that is known of a snapshot, as JSON
    Inspect {
        /// The snapshot, its id or its name
        id: String,
    },
    /// Delete snapshots
    ///
    /// Sandboxes that run on them run on. One that is deleted already is no fault.
    Rm {
        /// The snapshots
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Whether a sandbox's disk is kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeepOptions {
    /// Keep the disk when it stops, so that the next command goes on with it [default]
    #[arg(long, overrides_with = "no_persistent")]
    pub(crate) persistent: bool,

    /// Keep nothing when it stops
    #[arg(long, overrides_with = "persistent")]
    pub(crate) no_persistent: bool,
}

impl KeepOptions {
    pub(crate) fn keep(&self) -> Keep {
        if self.no_persistent { Keep::Nothing } else { Keep::Disk }
    }
}

/// What is kept of a sandbox that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Nothing,
    /// For as long as the sandbox.
    Disk,
}

impl Keep {
    pub(crate) fn ask(self, request: &mut CreateSandbox) {
        request.persistent = Some(self == Self::Disk);
        request.snapshot_expiration = Some(0);
        let newest = KeepLastSnapshots { automatic_only: Some(true), ..KeepLastSnapshots::of(1) };
        request.keep_last_snapshots = (self == Self::Disk).then_some(Some(newest));
    }
}
