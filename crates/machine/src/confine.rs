//! What a QEMU process may reach: a Landlock ruleset, made before the process is.

use std::{os::fd::OwnedFd, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

/// The newest version of Landlock whose rights are asked for; on an older kernel fewer are held.
const NEWEST: ABI = ABI::V6;

/// What the dynamic loader and QEMU itself read, whatever the machine.
const SYSTEM: [&str; 7] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/sys/devices/system/cpu",
    "/proc/sys/vm/overcommit_memory",
];
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/kvm"];

/// The paths of one machine.
#[derive(Debug, Default)]
pub(crate) struct Reach<'a> {
    pub(crate) program: Option<&'a Path>,
    /// Read and written, with all that is below.
    pub(crate) folder: Option<&'a Path>,
    pub(crate) written: Vec<&'a Path>,
    pub(crate) read: Vec<&'a Path>,
}

/// A ruleset for a process that is to come; none where the kernel has no Landlock.
pub(crate) fn ruleset(reach: &Reach<'_>) -> Result<Option<OwnedFd>, RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let file_read = make_bitflags!(AccessFs::ReadFile);
    let file_write = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});
    let folder = make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile
    });
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in SYSTEM {
        rules = add(rules, Path::new(path), read)?;
    }
    // A QEMU of one's own has its libraries and its firmware beside it.
    let program = reach.program.and_then(|program| program.canonicalize().ok());
    if let Some(program) = &program {
        rules = add(rules, program, read)?;
    }
    if let Some(prefix) = program.as_deref().and_then(Path::parent).and_then(Path::parent) {
        for name in ["lib", "lib64", "libexec", "share/qemu"] {
            rules = add(rules, &prefix.join(name), read)?;
        }
    }
    for path in DEVICES {
        rules = add(rules, Path::new(path), file_write | AccessFs::IoctlDev)?;
    }
    if let Some(path) = reach.folder {
        rules = add(rules, path, folder)?;
    }
    for path in &reach.written {
        rules = add(rules, path, file_write)?;
    }
    for path in &reach.read {
        rules = add(rules, path, file_read)?;
    }
    Ok(rules.into())
}

/// Whether this kernel holds a process to its own files.
pub fn is_confining() -> bool {
    ruleset(&Reach::default()).is_ok_and(|rules| rules.is_some())
}

/// What is not there needs no rule.
fn add(
    rules: RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(fd, access))
}
