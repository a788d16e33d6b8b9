//! QEMU's arguments, as a pure function.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Accel, Root,
    disk::{Format, Mode, root_nodes, single_node},
};

/// How large a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    pub vcpus: u32,
    pub memory_mib: u32,
}

/// More than this and the firmware's ACPI tables outgrow the page that the initramfs leaves them.
pub(crate) const VCPUS_MAX: u32 = 8;

/// Empty slots for drives that are plugged in later: `rp0` and on.
pub const SLOTS: u32 = 4;

/// What the guest writes to its console and nobody has read yet; a power of two.
pub(crate) const CONSOLE_BYTES: u32 = 64 * 1024;

/// The Ethernet address of every machine's card, each being alone on its link; the other end knows
/// it too.
pub const GUEST_MAC: &str = "02:66:75:6d:65:02";

/// Largest packet on the link, in bytes: the most that QEMU passes on. There is no offloading over
/// its `stream`, so large packets are what makes the network fast.
pub const MTU: u16 = 65_520;

/// Where a machine's memory is, as QEMU is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<'a> {
    Private,
    /// The file becomes what the guest writes.
    Shared(&'a Path),
    /// Read from the file, never written to it.
    CopyOnWrite(&'a Path),
}

/// All that the arguments are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) id: &'a str,
    pub(crate) accel: Accel,
    pub(crate) shape: Shape,
    pub(crate) modules: Option<&'a Path>,
    pub(crate) root: &'a Root,
    pub(crate) memory: Memory<'a>,
    /// Listening sockets, by descriptor.
    pub(crate) control: i32,
    pub(crate) agent: i32,
    pub(crate) network: i32,
    pub(crate) begin: Begin<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin<'a> {
    Boot {
        kernel: &'a Path,
        initramfs: &'a Path,
        tsc_khz: u64,
    },
    /// The kernel is in the memory already.
    Restore,
    /// It is there, and what is saved does not say of which kind of machine it is.
    Fork,
}

/// What would wake a guest that does nothing: watchdogs of lock-ups, accounts of pressure that nobody reads, compaction and
/// counters of memory, probes of neighbours. See docs/decisions/0013.
const STILL: &str = "nowatchdog psi=0 sysctl.vm.compaction_proactiveness=0 \
                     sysctl.vm.stat_interval=120 \
                     sysctl.net.ipv4.neigh.default.interval_probe_time_ms=3600000 \
                     sysctl.net.ipv6.neigh.default.interval_probe_time_ms=3600000";

/// The prefix of `-name`, by which a process is known to be one of ours.
pub(crate) const NAME: &str = "fumehood-";

pub(crate) fn arguments(parts: &Parts<'_>) -> Vec<String> {
    let mut arguments = Arguments(Vec::new());
    machine(&mut arguments, parts);
    channels(&mut arguments, parts);
    network(&mut arguments, parts);
    disks(&mut arguments, parts);
    arguments.0
}

struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn pair(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }

    /// As JSON, so that no character of a path has a meaning.
    fn json(&mut self, name: &str, value: &Value) {
        self.pair(name, value.to_string());
    }
}

fn machine(arguments: &mut Arguments, parts: &Parts<'_>) {
    arguments.pair("-name", format!("{NAME}{}", parts.id));
    arguments.pair("-uuid", parts.id);
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot", "-no-shutdown", "-S"] {
        arguments.flag(flag);
    }
    arguments.pair("-display", "none");
    arguments.pair(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    // Without pic=off a PIC that nobody has set up delivers the PIT's tick as vector 0, which the
    // guest's kernel takes for a division by zero and panics. A PIT ticks in QEMU, 36 times a second,
    // though nobody listens.
    arguments.pair(
        "-machine",
        "microvm,acpi=on,pcie=on,pic=off,pit=off,rtc=on,isa-serial=on,memory-backend=ram0",
    );
    match parts.accel {
        Accel::Kvm => {
            arguments.pair("-accel", "kvm");
            arguments.pair("-cpu", "host");
        }
        Accel::Tcg => {
            arguments.pair("-accel", "tcg,thread=multi,tb-size=256");
            // TCG does `rep movsb` and `rep stosb` a byte at a time: guests that use neither are faster.
            arguments.pair("-cpu", "max,la57=off,erms=off,fsrm=off,fsrs=off,pku=off");
        }
    }
    arguments.pair("-smp", parts.shape.vcpus.to_string());
    arguments.pair("-m", format!("{}M", parts.shape.memory_mib));
    arguments.json("-object", &memory(parts));
    match parts.begin {
        Begin::Boot { kernel, initramfs, tsc_khz } => {
            arguments.pair("-kernel", kernel.to_string_lossy());
            arguments.pair("-initrd", initramfs.to_string_lossy());
            arguments.pair("-append", command_line(parts.accel, tsc_khz));
        }
        Begin::Restore => incoming(arguments),
        Begin::Fork => {
            incoming(arguments);
            arguments.pair("-global", "migration.send-configuration=off");
        }
    }
}

fn incoming(arguments: &mut Arguments) {
    arguments.pair("-incoming", "defer");
    // No switch has to learn where the card is now: its gateway would be told five times.
    arguments.pair("-global", "migration.announce-rounds=0");
}

fn memory(parts: &Parts<'_>) -> Value {
    let size = u64::from(parts.shape.memory_mib) << 20;
    match parts.memory {
        Memory::Private => json!({
            "qom-type": "memory-backend-ram", "id": "ram0", "size": size, "reserve": false,
        }),
        Memory::Shared(file) => json!({
            "qom-type": "memory-backend-file", "id": "ram0", "size": size,
            "mem-path": file.to_string_lossy(), "share": true,
        }),
        Memory::CopyOnWrite(file) => json!({
            "qom-type": "memory-backend-file", "id": "ram0", "size": size,
            "mem-path": file.to_string_lossy(), "share": false,
            "readonly": true, "rom": "off", "reserve": false,
        }),
    }
}

fn command_line(accel: Accel, tsc_khz: u64) -> String {
    // pcie_ports: the firmware's tables do not grant the kernel the slots, and without them it does
    // not see drives come.
    let line = "console=ttyS0 quiet panic=-1 pcie_ports=native random.trust_cpu=on \
                cryptomgr.notests 8250.nr_uarts=1 raid=noautodetect";
    match accel {
        Accel::Kvm => format!("{line} {STILL}"),
        // What an emulated processor cannot leak needs no mitigation; the rest hardens the kernel
        // against its own processes, see docs/decisions/0017.
        Accel::Tcg => {
            format!(
                "{line} {STILL} tsc_early_khz={tsc_khz} tsc=reliable no_timer_check mitigations=off \
                 init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off lsm=landlock,yama"
            )
        }
    }
}

fn channels(arguments: &mut Arguments, parts: &Parts<'_>) {
    // A ring buffer and not a socket: a socket that nobody reads is full after 278 bytes, since
    // each byte is a packet of its own, and then the guest stands still at its next printk.
    arguments.pair("-chardev", format!("ringbuf,id=console,size={CONSOLE_BYTES}"));
    arguments.pair("-serial", "chardev:console");
    arguments
        .pair("-chardev", format!("socket,id=control,fd={},server=on,wait=off", parts.control));
    arguments.pair("-mon", "chardev=control,mode=control");
    arguments.pair("-chardev", format!("socket,id=agent,fd={},server=on,wait=off", parts.agent));
    arguments.json(
        "-device",
        &json!({
            "driver": "virtio-serial-pci", "id": "serial", "addr": "01.0",
            "disable-legacy": "on", "max_ports": 2,
        }),
    );
    arguments.json(
        "-device",
        &json!({
            "driver": "virtserialport", "id": "agentport", "bus": "serial.0", "nr": 1,
            "chardev": "agent", "name": "fumehood.agent",
        }),
    );
}

fn network(arguments: &mut Arguments, parts: &Parts<'_>) {
    let socket = json!({ "type": "fd", "str": parts.network.to_string() });
    let stream = json!({ "type": "stream", "id": "net", "server": true, "addr": socket });
    arguments.json("-netdev", &stream);
    arguments.json(
        "-device",
        &json!({
            "driver": "virtio-net-pci", "id": "card", "netdev": "net", "addr": "04.0",
            "disable-legacy": "on", "mac": GUEST_MAC, "host_mtu": MTU,
            // Nothing boots from it, and a clone has nobody to announce itself to.
            "romfile": "", "guest_announce": false,
        }),
    );
}

fn disks(arguments: &mut Arguments, parts: &Parts<'_>) {
    arguments.json("-blockdev", &root_nodes(parts.root));
    arguments.json("-device", &disk_device("root", "root", "pcie.0", "02.0"));
    if let Some(path) = parts.modules {
        arguments.json("-blockdev", &single_node("modules", Format::Raw, path, Mode::ReadOnly));
        arguments.json("-device", &disk_device("modules", "modules", "pcie.0", "03.0"));
    }
    for slot in 0..SLOTS {
        let port = json!({
            "driver": "pcie-root-port", "id": format!("rp{slot}"), "bus": "pcie.0",
            "addr": format!("{:02x}.0", 8 + slot), "chassis": slot + 1, "slot": slot + 1,
        });
        arguments.json("-device", &port);
    }
}

/// A disk's device; the machine stops when the host has no space left for what it writes.
pub(crate) fn disk_device(id: &str, serial: &str, bus: &str, addr: &str) -> Value {
    json!({
        "driver": "virtio-blk-pci", "id": id, "drive": id, "serial": serial, "bus": bus,
        "addr": addr, "disable-legacy": "on", "werror": "enospc", "rerror": "report",
    })
}

#[cfg(test)]
mod tests;
