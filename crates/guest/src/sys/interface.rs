//! What interfaces are told that netlink cannot tell them.

use std::{io, ptr};

use rustix::{
    fd::{AsRawFd, FromRawFd, OwnedFd},
    net::{AddressFamily, SocketType, socket},
};

/// Brings the loopback interface up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let mut request = request("lo");
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: it reads flags, which the request has.
    unsafe { ask(libc::SIOCSIFFLAGS, &request) }
}

/// Takes packets that come in by this interface as checked, for as long as what it gives is kept.
///
/// The gateway and QEMU have written them into memory, on the same computer. To sum up every byte once
/// more finds nothing, and is a fifth of what a download costs an emulated guest. QEMU has no card that
/// says so over a socket: docs/decisions/0021.
pub(crate) fn take_as_checked(name: &str, interface: u32) -> io::Result<OwnedFd> {
    const PROG_LOAD: libc::c_int = 5;
    const LINK_CREATE: libc::c_int = 28;
    const SCHED_CLS: u32 = 3;
    const TCX_INGRESS: u32 = 46;
    let load = Load {
        kind: SCHED_CLS,
        count: 4,
        instructions: ptr::from_ref(&CHECKED).addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
        log: [0; 4],
        version: 0,
        flags: 0,
        name: *b"checksums\0\0\0\0\0\0\0",
        interface: 0,
        place: TCX_INGRESS,
    };
    // SAFETY: it is what this command reads, and what it points to outlives the call.
    let program = unsafe { bpf(PROG_LOAD, &load) }?;
    let link = Link { program: program.as_raw_fd(), interface, place: TCX_INGRESS, flags: 0 };
    // SAFETY: it is what this command reads.
    let link = unsafe { bpf(LINK_CREATE, &link) }?;
    do_not_merge(name)?;
    Ok(link)
}

/// No small packets are merged into large ones: who merges sums up first. The gateway's are large.
fn do_not_merge(name: &str) -> io::Result<()> {
    const ETHTOOL_SGRO: u32 = 0x2c;
    let mut off = [ETHTOOL_SGRO, 0];
    let mut request = request(name);
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut off).cast();
    // SAFETY: it reads an `ethtool_value`, which the request points to.
    unsafe { ask(libc::SIOCETHTOOL, &request) }
}

/// A request about an interface.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: an all-zero `ifreq` is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last one stays the zero that ends the name.
    let (_, room) = request.ifr_name.split_last_mut().expect("an array of 16");
    for (to, from) in room.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

/// # Safety
///
/// The request holds what this one reads.
unsafe fn ask(what: libc::Ioctl, request: &libc::ifreq) -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: as the caller promises.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), what, ptr::from_ref(request)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// # Safety
///
/// It has the layout of what this command reads, and points to what is there.
unsafe fn bpf<T>(command: libc::c_int, what: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_ref(what), size_of::<T>()) };
    match libc::c_int::try_from(fd) {
        // SAFETY: the descriptor was just made and nobody else has it. The kernel closes it at `exec`.
        Ok(fd) if 0 <= fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An instruction as the kernel has it, `linux/bpf.h`.
#[repr(C)]
struct Instruction {
    code: u8,
    /// The one that is read, and the one that is written.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, registers: u8, immediate: i32) -> Instruction {
    Instruction { code, registers, offset: 0, immediate }
}

const MOVE: u8 = 0xb7;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const CSUM_LEVEL: i32 = 135;
const CSUM_LEVEL_UP: i32 = 1;
/// As if there were no program.
const TCX_NEXT: i32 = -1;

/// Counts one checksum of the packet as looked at, which none was: then the outermost is.
static CHECKED: [Instruction; 4] = [
    instruction(MOVE, 2, CSUM_LEVEL_UP),
    instruction(CALL, 0, CSUM_LEVEL),
    instruction(MOVE, 0, TCX_NEXT),
    instruction(EXIT, 0, 0),
];

/// What `BPF_PROG_LOAD` reads.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    place: u32,
}

/// What `BPF_LINK_CREATE` reads.
#[repr(C)]
struct Link {
    program: i32,
    interface: u32,
    place: u32,
    flags: u32,
}
