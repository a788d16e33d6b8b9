//! One process that has other code under the same addresses again and again, by other pages of a file there, without a
//! turn of anybody else between: it has to find what is there now. The same program on the host and in a guest. Built
//! alone and statically.

mod chance;
mod memory;

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr,
};

use chance::Chance;
use memory::{PAGE, READ_WRITE, mmap};

const TURNS: usize = 20_000;
/// Of the file.
const PAGES: usize = 12;
/// Each in a page of the file, this far apart, and no two of a page at one address of it.
const FUNCTIONS: usize = 48;
const APART: usize = 80;
/// Pairs of pages where code is run. What tells them apart is in the upper bits of their addresses.
const WINDOWS: usize = 5;
const FIRST_WINDOW: usize = 0x5a00_0000_0000;
const WINDOWS_APART: usize = 1 << 28;

const READ_EXECUTE: c_int = 5;
const SHARED: c_int = 1;
const SHARED_THERE: c_int = 0x11;

/// `mov eax, NUMBER` is this and the number.
const MOVE: u8 = 0xb8;
const RETURN: u8 = 0xc3;

unsafe extern "C" {
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    fn ftruncate(file: c_int, length: i64) -> c_int;
}

fn number(page: usize, function: usize) -> u32 {
    u32::try_from(page << 16 | function | 0x5a00_0000).unwrap()
}

/// What a page of the file has: it begins with the end of a function that the page before it begins, has functions of
/// its own, and begins another.
fn page(page: usize) -> [u8; PAGE] {
    let own = u8::try_from(page).unwrap();
    let mut code = [0xcc; PAGE];
    code[..3].copy_from_slice(&[own, !own, RETURN]);
    for function in 0..FUNCTIONS {
        let [a, b, c, d] = number(page, function).to_le_bytes();
        let at = APART * (function + 1);
        code[at..at + 6].copy_from_slice(&[MOVE, a, b, c, d, RETURN]);
    }
    code[PAGE - 3..].copy_from_slice(&[MOVE, own, !own]);
    code
}

/// What the function gives that begins in one page and ends in the other.
fn across(first: usize, second: usize) -> u32 {
    let [first, second] = [first, second].map(|page| u8::try_from(page).unwrap());
    u32::from_le_bytes([first, !first, second, !second])
}

fn call(at: usize) -> u32 {
    // SAFETY: whole code is there, which keeps to the rules of calls.
    unsafe { std::mem::transmute::<usize, extern "C" fn() -> u32>(at)() }
}

fn map(file: c_int, at: usize, page: usize) {
    let from = i64::try_from(page * PAGE).unwrap();
    // SAFETY: nothing of Rust's is there.
    let got = unsafe { mmap(at as *mut c_void, PAGE, READ_EXECUTE, SHARED_THERE, file, from) };
    assert_eq!(got as usize, at);
}

fn file() -> c_int {
    let name: &CStr = c"code";
    // SAFETY: a name that ends.
    let file = unsafe { memfd_create(name.as_ptr(), 0) };
    let size = PAGES * PAGE;
    // SAFETY: a file of this process's.
    assert_eq!(unsafe { ftruncate(file, i64::try_from(size).unwrap()) }, 0);
    // SAFETY: wherever there is room.
    let all = unsafe { mmap(ptr::null_mut(), size, READ_WRITE, SHARED, file, 0) };
    for it in 0..PAGES {
        // SAFETY: it was mapped, as large.
        unsafe { ptr::copy_nonoverlapping(page(it).as_ptr(), all.add(it * PAGE), PAGE) };
    }
    file
}

fn main() {
    let file = file();
    let mut chance = Chance(1);
    let mut there = [[0; 2]; WINDOWS];
    for (window, pages) in there.iter().enumerate() {
        for (half, page) in pages.iter().enumerate() {
            map(file, FIRST_WINDOW + window * WINDOWS_APART + half * PAGE, *page);
        }
    }
    let mut wrong = 0;
    for _ in 0..TURNS {
        let (window, half) = (chance.below(WINDOWS), chance.below(2));
        let base = FIRST_WINDOW + window * WINDOWS_APART;
        there[window][half] = chance.below(PAGES);
        map(file, base + half * PAGE, there[window][half]);
        let [first, second] = there[window];
        wrong += usize::from(call(base + PAGE - 3) != across(first, second));
        for _ in 0..4 {
            let (window, half) = (chance.below(WINDOWS), chance.below(2));
            let function = chance.below(FUNCTIONS);
            let at = FIRST_WINDOW + window * WINDOWS_APART + half * PAGE;
            let expected = number(there[window][half], function);
            wrong += usize::from(call(at + APART * (function + 1)) != expected);
        }
    }
    println!("{wrong} calls of {} were of other code", TURNS * 5);
}
