//! One process that has other code under the same addresses again and again, by other pages of a file there, without a
//! turn of anybody else between: it has to find what is there now. The same program on the host and in a guest. Built
//! alone and statically.

mod chance;
mod code;
mod file;
mod memory;

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use chance::Chance;
use code::{call, function};
use file::{SHARED, file};
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
const THERE: c_int = 0x10;

fn number(page: usize, function: usize) -> u32 {
    u32::try_from(page << 16 | function | 0x5a00_0000).unwrap()
}

/// What a page of the file has: it begins with the end of a function that the page before it begins, has functions of
/// its own, and begins another.
fn page(page: usize) -> [u8; PAGE] {
    let mut code = [0xcc; PAGE];
    let between = function(across(page, page));
    let (begin, end) = between.split_at(3);
    code[..3].copy_from_slice(end);
    for function_number in 0..FUNCTIONS {
        let at = APART * (function_number + 1);
        code[at..at + 6].copy_from_slice(&function(number(page, function_number)));
    }
    code[PAGE - 3..].copy_from_slice(begin);
    code
}

/// What the function gives that begins in one page and ends in the other.
fn across(first: usize, second: usize) -> u32 {
    let [first, second] = [first, second].map(|page| u8::try_from(page).unwrap());
    u32::from_le_bytes([first, !first, second, !second])
}

fn map(file: c_int, at: usize, page: usize) {
    let from = i64::try_from(page * PAGE).unwrap();
    // SAFETY: nothing of Rust's is there.
    let got = unsafe { mmap(at as *mut c_void, PAGE, READ_EXECUTE, SHARED | THERE, file, from) };
    assert_eq!(got as usize, at);
}

fn file_of_code() -> c_int {
    let size = PAGES * PAGE;
    let file = file(size);
    // SAFETY: wherever there is room.
    let all = unsafe { mmap(ptr::null_mut(), size, READ_WRITE, SHARED, file, 0) };
    for it in 0..PAGES {
        // SAFETY: it was mapped, as large.
        unsafe { ptr::copy_nonoverlapping(page(it).as_ptr(), all.add(it * PAGE), PAGE) };
    }
    file
}

fn main() {
    let file = file_of_code();
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
