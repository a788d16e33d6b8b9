//! `fumehood pause` and `fumehood resume`.

use clap::Args;

/// Pause sandboxes: keep their memory on the disk, and free this computer of them
///
/// Their programs go on where they were, hours later and after a restart of the server or of its
/// computer, with the next command or request that needs them, or with `fumehood resume`. A
/// sandbox's timeout does not run meanwhile. Connections to the outside are reset. If QEMU, the host's
/// processor or the sandbox's template have changed meanwhile, it starts from its disk instead.
///
/// See also --idle-timeout of `fumehood create`. A sandbox with drives cannot be paused.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The sandboxes; one that is paused already is no fault
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Have paused sandboxes go on, and start stopped ones from the disks that were kept
///
/// Every command that needs a sandbox to run does so by itself. One that runs is no fault.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The sandboxes
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}
