//! A guest that does nothing but measure: the kernel of ours, busybox, and one program.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};

const APPLETS: [&str; 9] =
    ["sh", "mount", "insmod", "sed", "ip", "poweroff", "echo", "nslookup", "sync"];

/// What it is made of.
pub(crate) struct Recipe<'a> {
    /// PID 1: a script for busybox.
    pub(crate) init: &'a str,
    /// Of the program, in Rust, with the standard library alone.
    pub(crate) program: &'a str,
    /// Of the kernel's, in the order of loading.
    pub(crate) modules: &'a [&'a str],
    /// Programs that are there, in the root.
    pub(crate) programs: &'a [&'a Path],
}

/// Kernel and initramfs.
pub(crate) struct Guest {
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl Guest {
    /// Puts it together from the kernel in the cache.
    pub(crate) fn prepare(folder: &Path, cache: &Path, recipe: &Recipe<'_>) -> Result<Self> {
        let kernels = cache.join("x86_64/kernels");
        let newest = fs::read_dir(&kernels)
            .with_context(|| format!("{} is missing: run fumehood setup", kernels.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.join("vmlinux").exists())
            .max()
            .context("no kernel is in the cache: run fumehood setup")?;
        let tree = folder.join("tree");
        for name in ["bin", "dev", "disk", "proc", "sys"] {
            fs::create_dir_all(tree.join(name))?;
        }
        fs::copy("/bin/busybox", tree.join("bin/busybox"))
            .context("busybox is missing: apt install busybox-static")?;
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet))?;
        }
        for module in recipe.modules {
            let packed = newest.join(format!("boot-modules/{module}.ko.xz"));
            let unpacked = done(Command::new("xz").arg("-dc").arg(packed))?;
            fs::write(tree.join(format!("{module}.ko")), unpacked.stdout)?;
        }
        for program in recipe.programs {
            let name = program.file_name().context("a program has a name")?;
            fs::copy(program, tree.join(name))
                .with_context(|| format!("{} cannot be copied", program.display()))?;
        }
        let source = folder.join("program.rs");
        fs::write(&source, recipe.program)?;
        done(
            Command::new("rustc")
                .args(["-O", "--edition", "2024", "-C", "target-feature=+crt-static", "-o"])
                .arg(tree.join("program"))
                .arg(&source),
        )?;
        let init = tree.join("init");
        fs::write(&init, recipe.init)?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let initramfs = folder.join("initramfs");
        // In whole pages: see docs/decisions/0003.
        let pack =
            "find . | busybox cpio -o -H newc > ../initramfs && truncate -s %4096 ../initramfs";
        done(Command::new("sh").args(["-c", pack]).current_dir(&tree))?;
        Ok(Self { kernel: newest.join("vmlinux"), initramfs })
    }

    /// The machine without devices but a console, which is its output.
    pub(crate) fn qemu(&self, program: &Path, more_of_the_command_line: &str) -> Command {
        // Told, since finding it out fails under load; see machine/src/tsc.rs.
        let khz = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("cpu MHz"))?;
            let mhz: f64 = line.split(':').nth(1)?.trim().parse().ok()?;
            Some(format!("tsc_early_khz={:.0}", mhz * 1000.0))
        });
        let khz = khz.unwrap_or_default();
        let line = format!(
            "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check tsc=reliable {khz} {more_of_the_command_line}"
        );
        let mut command = Command::new(program);
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-machine", "microvm,acpi=on,pcie=on,pic=off,rtc=on,isa-serial=on"])
            .args(["-accel", "tcg,thread=multi,tb-size=256"])
            .args(["-cpu", "max,la57=off,erms=off,fsrm=off,fsrs=off,pku=off"])
            .args(["-smp", "1", "-m", "512M"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", &line, "-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

fn done(command: &mut Command) -> Result<Output> {
    let output = command.stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(output)
}
