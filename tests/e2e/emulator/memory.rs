//! What the programs ask of the kernel.

use std::ffi::{c_int, c_void};

pub const PAGE: usize = 4096;
pub const READ_WRITE: c_int = 3;

#[allow(dead_code, reason = "not each program asks all of it")]
unsafe extern "C" {
    pub fn mmap(
        at: *mut c_void,
        size: usize,
        may: c_int,
        how: c_int,
        file: c_int,
        from: i64,
    ) -> *mut u8;
    pub fn mprotect(at: *mut c_void, size: usize, may: c_int) -> c_int;
}
