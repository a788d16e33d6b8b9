//! Processes that have different code and data at the same addresses, and take turns: each has to
//! find its own. The same program on the host and in a guest. Built alone and statically.

mod code;
mod memory;

use std::{
    ffi::{c_int, c_void},
    process::exit,
    ptr,
};

use code::{call, function};
use memory::{PAGE, READ_WRITE, mmap, mprotect};

const PROCESSES: u32 = 6;
const TURNS: u32 = 3000;
/// Where nothing else is.
const CODE: usize = 0x5a00_0000_0000;
const DATA: usize = 0x5b00_0000_0000;

const READ_EXECUTE: c_int = 5;
/// Private, anonymous, and just there.
const HOW: c_int = 0x32;

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn sched_yield() -> c_int;
}

/// New memory in the place of what was there.
fn map(at: usize) {
    // SAFETY: nothing of Rust's is there.
    let got = unsafe { mmap(at as *mut c_void, 2 * PAGE, READ_WRITE, HOW, -1, 0) };
    assert_eq!(got as usize, at);
}

/// A function that gives this number; across the border of two pages, or within one.
fn write_code(at: usize, number: u32) {
    let code = function(number);
    // SAFETY: it was mapped.
    unsafe {
        assert_eq!(mprotect(CODE as *mut c_void, 2 * PAGE, READ_WRITE), 0);
        ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len());
        assert_eq!(mprotect(CODE as *mut c_void, 2 * PAGE, READ_EXECUTE), 0);
    }
}

fn process(number: u32) {
    let (within, across) = (CODE + 64, CODE + PAGE - 3);
    let data = DATA as *mut u32;
    map(DATA);
    let mut expected = 0;
    for turn in 0..TURNS {
        // Now and then all of it is new, or only what is in it.
        if turn % 40 == 0 {
            map(CODE);
        }
        if turn % 8 == 0 {
            expected = number << 16 | turn;
            write_code(within, expected);
            write_code(across, !expected);
        }
        // SAFETY: it was mapped.
        unsafe { data.write_volatile(expected) };
        // SAFETY: it only waits.
        unsafe { sched_yield() };
        // SAFETY: as above.
        let found = [call(within), !call(across), unsafe { data.read_volatile() }];
        if found != [expected; 3] {
            println!("process {number}, turn {turn}: {found:x?} for {expected:x}");
            exit(1);
        }
    }
}

fn main() {
    // What all have at first, so that each writes a copy.
    map(CODE);
    map(DATA);
    write_code(CODE + 64, 0);
    assert_eq!(call(CODE + 64), 0);
    let mut children = Vec::new();
    for number in 1..=PROCESSES {
        // SAFETY: there is one thread.
        match unsafe { fork() } {
            0 => {
                process(number);
                exit(0);
            }
            child => children.push(child),
        }
    }
    for child in children {
        let mut status = 0;
        // SAFETY: a child of its own.
        assert_eq!(unsafe { waitpid(child, &mut status, 0) }, child);
        println!("{status}");
    }
}
