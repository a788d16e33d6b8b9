//! Named points of the lifecycle at which a test lets the server die.
//!
//! The environment variable `FUMEHOOD_DIE_AT` names one point; a server that reaches it kills itself with
//! SIGKILL, as the out-of-memory killer or an operator would. Who can set a server's environment
//! can kill it anyway.

use std::sync::OnceLock;

/// Every point there is, in the order in which a sandbox's life passes them.
pub(crate) const POINTS: [&str; 32] = [
    "create-recorded",
    "drives-recorded",
    "disk-made",
    "machine-cloned",
    "gateway-started",
    "gateway-recorded",
    "gateway-configured",
    "drives-mounted",
    "machine-claimed",
    "running-recorded",
    "command-recorded",
    "command-started",
    "fork-planned",
    "fork-taken",
    "fork-moved",
    "memory-written",
    "pause-planned",
    "pause-written",
    "pause-recorded",
    "wake-launched",
    "wake-recorded",
    "wake-let-go",
    "wake-told",
    "snapshot-planned",
    "guest-frozen",
    "stop-recorded",
    "machine-killed",
    "drives-detached",
    "layer-moved",
    "snapshot-recorded",
    "released",
    "resume-recorded",
];

/// Dies here if the environment says so.
pub(crate) fn pass(point: &'static str) {
    static DIE_AT: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(POINTS.contains(&point), "{point} is not listed");
    let die_at = DIE_AT.get_or_init(|| std::env::var("FUMEHOOD_DIE_AT").ok());
    if die_at.as_deref() == Some(point) {
        let pid = rustix::process::getpid();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .expect("a process may kill itself");
    }
}
