//! What this host can do, and what to do about what it cannot.

use machine::{KvmState, Qemu};
use serde::Serialize;

use crate::{
    causes,
    config::{AgentProgram, Paths},
    limits::{self, Host, Promised},
    platform::{self, PlatformError},
    setup::{DEFAULT_SHAPE, kvm_warning},
    templates::Templates,
    uplink::Uplink,
};

/// How a part of the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Good,
    /// It works, and could work better.
    Warning,
    /// No sandbox can run.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: &'static str,
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, health: Health::Good, found: found.into(), advice: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: &str) -> Self {
        let advice = Some(advice.to_owned());
        Self { name, health: Health::Warning, found: found.into(), advice }
    }

    fn bad(name: &'static str, found: impl Into<String>, advice: &str) -> Self {
        let advice = Some(advice.to_owned());
        Self { name, health: Health::Bad, found: found.into(), advice }
    }
}

/// Descriptors of one server per sandbox, roughly.
const FILES_PER_SANDBOX: u64 = 16;
const FILES_WANTED: u64 = 100 * FILES_PER_SANDBOX;

/// Looks at everything. Trying KVM for the first time takes some seconds.
pub async fn doctor(paths: &Paths, agent: AgentProgram) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = paths.make() {
        let found = format!("{} cannot be used: {error}", paths.state().display());
        findings.push(Finding::bad(
            "folders",
            found,
            "Set FUMEHOOD_STATE_DIR and FUMEHOOD_CACHE_DIR to folders of yours.",
        ));
        return findings;
    }
    findings.push(qemu(paths).await);
    findings.extend(kernel_and_kvm(paths, agent).await);
    findings.push(image(paths).await);
    findings.extend(room(paths));
    findings.push(open_files());
    findings.push(walls());
    findings
}

async fn qemu(paths: &Paths) -> Finding {
    match Qemu::find(paths.qemu().as_deref()).await {
        Ok(qemu) => Finding::good(
            "qemu",
            format!("version {}, {}", qemu.version(), qemu.program().display()),
        ),
        Err(error) => Finding::bad(
            "qemu",
            causes(&error),
            "Install QEMU 10.0 or newer with its x86 system emulator, and qemu-utils.",
        ),
    }
}

async fn kernel_and_kvm(paths: &Paths, agent: AgentProgram) -> Vec<Finding> {
    match platform::find(paths, agent).await {
        Ok((platform, kvm)) => {
            let digest = platform.kernel.digest();
            let kernel = format!(
                "{}…, {}",
                &digest[..digest.len().min(12)],
                platform.kernel.path().display()
            );
            let templates = templates(paths, &platform).await;
            vec![Finding::good("kernel", kernel), accelerator(&kvm), templates]
        }
        // That has been told.
        Err(PlatformError::Qemu(_)) => Vec::new(),
        Err(error) => vec![Finding::bad("kernel", causes(&error), "Run `fumehood setup`.")],
    }
}

fn accelerator(kvm: &KvmState) -> Finding {
    let Some(warning) = kvm_warning(kvm) else {
        return Finding::good("kvm", "a guest boots with hardware virtualisation");
    };
    let advice = match kvm {
        KvmState::Works => "",
        KvmState::OpensButDoesNotBoot { .. } => {
            "This host is itself a virtual machine whose KVM is not complete; use another kind of host for speed."
        }
        KvmState::NotPermitted => {
            "Add yourself to the group that owns /dev/kvm: usermod -aG kvm $USER, then log in again."
        }
        KvmState::Absent => {
            "Switch virtualisation on in the firmware, or nested virtualisation in the host around this one."
        }
    };
    Finding::warning("kvm", warning, advice)
}

async fn templates(paths: &Paths, platform: &machine::Platform) -> Finding {
    let made = async {
        let image = platform::image(paths, "default").await.ok()?;
        let templates = Templates::open(paths, &Uplink::default()).ok()?;
        Some(templates.is_made(platform, DEFAULT_SHAPE, &image))
    };
    match made.await {
        Some(true) => Finding::good("template", "the default shape of the default image is ready"),
        Some(false) | None => Finding::warning(
            "template",
            "the default one is not made: the first sandbox boots a guest, which takes some seconds",
            "Run `fumehood setup`, or wait once.",
        ),
    }
}

async fn image(paths: &Paths) -> Finding {
    match platform::image(paths, "default").await {
        Ok(image) => Finding::good("image", format!("default, {}", image.layer.path.display())),
        Err(error) => Finding::bad("image", causes(&error), "Run `fumehood setup`."),
    }
}

fn room(paths: &Paths) -> Vec<Finding> {
    let host = match Host::now(paths.state()) {
        Ok(host) => host,
        Err(error) => return vec![Finding::bad("room", error.to_string(), "Mount /proc.")],
    };
    let mut promised = Promised::default();
    let why = loop {
        match limits::admit(host, promised, DEFAULT_SHAPE) {
            Ok(()) => promised.add(DEFAULT_SHAPE),
            Err(why) => break why,
        }
    };
    let found = format!(
        "{} sandboxes of {} MiB at once on {} processors, {} MiB of memory and {} MiB of free disk",
        promised.sandboxes,
        DEFAULT_SHAPE.memory_mib,
        host.processors,
        host.memory_mib,
        host.disk_free_mib
    );
    vec![match promised.sandboxes {
        0 => Finding::bad("room", why.to_string(), "Free memory or disk."),
        _ => Finding::good("room", found),
    }]
}

fn open_files() -> Finding {
    let files = limits::open_files();
    let found = format!("{files} open files");
    if files < FILES_WANTED {
        return Finding::warning("limits", found, "Raise the hard limit: ulimit -Hn 65536.");
    }
    Finding::good("limits", found)
}

/// What is between a guest that breaks out of QEMU and this computer.
fn walls() -> Finding {
    if !machine::is_confining() {
        return Finding::warning(
            "walls",
            "this kernel has no Landlock: seccomp alone holds QEMU",
            "Use a kernel with Landlock, 5.13 or newer, and lsm=landlock,… on its command line.",
        );
    }
    if rustix::process::geteuid().is_root() {
        return Finding::warning(
            "walls",
            "seccomp and Landlock hold QEMU, which is root's, as you are",
            "Run fumehood as an ordinary user; root is for installing packages alone.",
        );
    }
    Finding::good("walls", "seccomp, Landlock and an ordinary user hold QEMU")
}
