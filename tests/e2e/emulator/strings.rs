//! What a processor makes of string instructions (`rep movs`, `rep stos`), a line a trial, always
//! the same ones: the same program on the host and in a guest. Built alone and statically.

mod chance;
mod file;
mod memory;

use std::{
    arch::asm,
    ffi::{c_int, c_void},
    hash::{DefaultHasher, Hasher},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use chance::Chance;
use file::{SHARED, file};
use memory::{PAGE, READ_WRITE, mmap, mprotect};

const PAGES: usize = 5;
const LENGTH: usize = PAGES * PAGE;

const READ_WRITE_EXECUTE: c_int = 7;
const PRIVATE: c_int = 2;
const ANONYMOUS: c_int = 0x20;
const LOW: c_int = 0x40;

unsafe extern "C" {
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
}

/// The page that is forbidden until somebody touches it, and how often somebody did.
static FORBIDDEN: AtomicUsize = AtomicUsize::new(0);
static FAULTS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn touched(_: c_int) {
    FAULTS.fetch_add(1, Ordering::Relaxed);
    let page = FORBIDDEN.load(Ordering::Relaxed) as *mut c_void;
    // SAFETY: a page of the arena.
    assert_eq!(unsafe { mprotect(page, PAGE, READ_WRITE) }, 0);
}

struct Registers {
    count: usize,
    from: usize,
    to: usize,
    value: u64,
}

macro_rules! run {
    ($registers:ident, $($instruction:literal),+) => {
        asm!(
            $($instruction,)+ "cld",
            inout("rcx") $registers.count, inout("rsi") $registers.from, inout("rdi") $registers.to,
            in("rax") $registers.value,
        )
    };
}

const KINDS: [&str; 14] = [
    "movsb",
    "movsw",
    "movsd",
    "movsq",
    "stosb",
    "stosw",
    "stosd",
    "stosq",
    "movsb down",
    "movsq down",
    "stosq down",
    "movsq by fs",
    "movsb of 32 bits",
    "stosd of 32 bits",
];

/// How many bytes an element of it has.
fn element(kind: &str) -> usize {
    match kind.as_bytes()[4] {
        b'b' => 1,
        b'w' => 2,
        b'd' => 4,
        _ => 8,
    }
}

/// # Safety
///
/// What the registers say is in an arena.
unsafe fn run(kind: &str, registers: &mut Registers) {
    // SAFETY: the caller's; the direction is set back.
    unsafe {
        match kind {
            "movsb" => run!(registers, "rep movsb"),
            "movsw" => run!(registers, "rep movsw"),
            "movsd" => run!(registers, "rep movsd"),
            "movsq" => run!(registers, "rep movsq"),
            "stosb" => run!(registers, "rep stosb"),
            "stosw" => run!(registers, "rep stosw"),
            "stosd" => run!(registers, "rep stosd"),
            "stosq" => run!(registers, "rep stosq"),
            "movsb down" => run!(registers, "std", "rep movsb"),
            "movsq down" => run!(registers, "std", "rep movsq"),
            "stosq down" => run!(registers, "std", "rep stosq"),
            // The register's own address stands at its beginning.
            "movsq by fs" => run!(
                registers,
                "sub rsi, fs:[0]",
                "rep movsq qword ptr es:[rdi], qword ptr fs:[rsi]",
                "add rsi, fs:[0]"
            ),
            "movsb of 32 bits" => run!(registers, ".byte 0x67", "rep movsb"),
            "stosd of 32 bits" => run!(registers, ".byte 0x67", "rep stosd"),
            _ => unreachable!(),
        }
    }
}

/// Two views of the same memory, low enough for addresses of 32 bits.
fn arena() -> [*mut u8; 2] {
    let file = file(LENGTH);
    [(); 2].map(|()| {
        // SAFETY: new memory.
        let view = unsafe { mmap(ptr::null_mut(), LENGTH, READ_WRITE, SHARED | LOW, file, 0) };
        assert_ne!(view as isize, -1);
        view
    })
}

fn fill(arena: *mut u8, seed: u64) {
    let mut chance = Chance(seed);
    for at in 0..LENGTH / 4 {
        // SAFETY: within it.
        unsafe { arena.cast::<u32>().add(at).write_volatile(chance.below(1 << 31) as u32) };
    }
}

fn sum(arena: *const u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    for at in 0..LENGTH / 8 {
        // SAFETY: within it.
        hasher.write_u64(unsafe { arena.cast::<u64>().add(at).read_volatile() });
    }
    hasher.finish()
}

fn trials(arena: [*mut u8; 2]) {
    let mut chance = Chance(1);
    for trial in 0..3000 {
        let kind = KINDS[chance.below(KINDS.len())];
        let size = element(kind);
        let most = [20, 600, 2 * PAGE][chance.below(3)];
        let count = chance.below(most / size + 1);
        let long = count * size;
        // Far from each other, or so near that what is written is read.
        let from = chance.below(LENGTH - long + 1);
        let to = match chance.below(3) {
            0 => (from + chance.below(40)).min(LENGTH - long),
            _ => chance.below(LENGTH - long + 1),
        };
        // Through two views at once processors do not see that what is written is read.
        let from_view = arena[chance.below(2)];
        let apart = from.abs_diff(to) >= long;
        let to_view = if apart { arena[chance.below(2)] } else { from_view };
        // Downwards it begins with the last element.
        let up = if kind.ends_with("down") && count > 0 { long - size } else { 0 };
        let value = [0, 0xabab_abab_abab_abab, 0x0123_4567_89ab_cdef][chance.below(3)];
        fill(arena[0], trial);
        let forbidden = arena[chance.below(2)] as usize + chance.below(PAGES) * PAGE;
        if trial % 2 == 0 {
            FORBIDDEN.store(forbidden, Ordering::Relaxed);
            // SAFETY: a page of a view; the other view has all of them.
            assert_eq!(unsafe { mprotect(forbidden as *mut c_void, PAGE, 0) }, 0);
        }
        let mut registers = Registers {
            count,
            from: from_view as usize + from + up,
            to: to_view as usize + to + up,
            value,
        };
        FAULTS.store(0, Ordering::Relaxed);
        // SAFETY: within the arena.
        unsafe { run(kind, &mut registers) };
        let faults = FAULTS.load(Ordering::Relaxed);
        // SAFETY: as above.
        assert_eq!(unsafe { mprotect(forbidden as *mut c_void, PAGE, READ_WRITE) }, 0);
        let moved = |now: usize, view: *mut u8, before: usize| {
            now as isize - (view as usize + before + up) as isize
        };
        println!(
            "{trial} {kind} {count} from {from} to {to}: {} {} {} faults {faults} sum {:x}",
            registers.count,
            moved(registers.from, from_view, from),
            moved(registers.to, to_view, to),
            sum(arena[0]),
        );
    }
}

/// Code that was run is written over, by itself too.
fn code() {
    // mov eax, NUMBER; ret
    let gives = |number: u8| [0xb8, number, 0, 0, 0, 0xc3];
    // rep movsb; mov eax, 1; ret
    let writes = [0xf3, 0xa4, 0xb8, 1, 0, 0, 0, 0xc3];
    // SAFETY: memory of its own; what is called is whole code, and keeps to the rules of calls.
    unsafe {
        let place = mmap(ptr::null_mut(), PAGE, READ_WRITE_EXECUTE, PRIVATE | ANONYMOUS, -1, 0);
        assert_ne!(place as isize, -1);
        let mut new = vec![0x90_u8; 2000];
        for number in 1..=50 {
            new[..6].copy_from_slice(&gives(number));
            let mut registers = Registers {
                count: new.len(),
                from: new.as_ptr() as usize,
                to: place as usize,
                value: 0,
            };
            run("movsb", &mut registers);
            let function: extern "C" fn() -> u32 = std::mem::transmute(place);
            println!("code {number}: {}", function());
        }
        // As arguments of a call: rdi, rsi, rdx, rcx.
        for number in 1..=50 {
            ptr::copy_nonoverlapping(writes.as_ptr(), place, writes.len());
            let function: extern "C" fn(*mut u8, *const u8, usize, usize) -> u32 =
                std::mem::transmute(place);
            new[..2].copy_from_slice(&writes[..2]);
            new[2..8].copy_from_slice(&gives(number));
            println!("code {number} of itself: {}", function(place, new.as_ptr(), 0, new.len()));
        }
    }
}

fn main() {
    // SAFETY: it only changes what a page may.
    unsafe { signal(11, touched) };
    trials(arena());
    code();
}
