//! The key of a template: everything that its saved state depends on.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Accel, Platform, Root, Shape,
    arguments::{Begin, Memory, Parts, arguments},
    platform::hex,
    tsc,
};

/// Raised when templates made by an older version of this crate are of no use any more.
const FORMAT: u32 = 1;

/// A digest over all that a template depends on; hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// `image` is the image's digest for a warm template, none for a bare one.
    #[must_use]
    pub fn of(platform: &Platform, shape: Shape, image: Option<&str>) -> Self {
        Self::over(parts(platform, shape, image))
    }

    /// Of what a paused machine depends on beside its own memory: its kernel is in that.
    #[must_use]
    pub fn of_paused(platform: &Platform, shape: Shape) -> Self {
        let modules = platform.modules.as_ref();
        let mut parts = vec![format!("paused {FORMAT}")];
        parts.extend(host_parts(platform));
        parts.push(modules.map_or("no modules", |modules| modules.digest()).to_owned());
        parts.extend(stand_ins(platform, shape, Begin::Fork));
        Self::over(parts)
    }

    /// Of what is unpacked of a saved memory: it is that memory's alone.
    #[must_use]
    pub fn of_memory(name: &str) -> Self {
        Self::over(vec!["memory".to_owned(), name.to_owned()])
    }

    fn over(parts: Vec<String>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            // Each with its length, so that no two lists of parts read the same.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hex(&hasher.finalize()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parts(platform: &Platform, shape: Shape, image: Option<&str>) -> Vec<String> {
    let modules = platform.modules.as_ref();
    let mut parts = vec![format!("format {FORMAT}")];
    parts.extend(host_parts(platform));
    parts.extend([
        platform.kernel.digest().to_owned(),
        platform.initramfs.digest().to_owned(),
        modules.map_or("no modules", |modules| modules.digest()).to_owned(),
        image.unwrap_or("bare").to_owned(),
    ]);
    let (kernel, initramfs) = (Path::new("kernel"), Path::new("initramfs"));
    parts.extend(stand_ins(platform, shape, Begin::Boot { kernel, initramfs, tsc_khz: 0 }));
    parts
}

fn host_parts(platform: &Platform) -> [String; 3] {
    [std::env::consts::ARCH.to_owned(), platform.qemu.build().to_owned(), host(platform.accel)]
}

/// The arguments with stand-ins for what differs from machine to machine.
fn stand_ins(platform: &Platform, shape: Shape, begin: Begin<'_>) -> Vec<String> {
    arguments(&Parts {
        id: "id",
        accel: platform.accel,
        shape,
        modules: platform.modules.as_ref().map(|_| Path::new("modules")),
        root: &Root::Blank,
        memory: Memory::Shared(Path::new("ram")),
        control: 0,
        agent: 0,
        network: 0,
        begin,
    })
}

/// What the saved state takes from the host itself.
fn host(accel: Accel) -> String {
    match accel {
        Accel::Kvm => {
            let uname = rustix::system::uname();
            let release = uname.release().to_string_lossy();
            format!("kvm {release} {}", processor())
        }
        // The guest was told the rate of the time stamp counter; as a megahertz or two is what
        // measurements and turbo modes differ by, it counts in steps of 25 MHz.
        Accel::Tcg => format!("tcg {}", (tsc::khz() + 12_500) / 25_000),
    }
}

/// The model of the first processor, as `-cpu host` shows it to guests.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    let told = ["vendor_id", "cpu family", "model", "model name", "stepping", "flags"];
    let lines = first
        .lines()
        .filter(|line| line.split_once(':').is_some_and(|(name, _)| told.contains(&name.trim())));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
