//! A file of memory, to be mapped.

use std::ffi::{c_char, c_int, c_uint};

pub const SHARED: c_int = 1;

unsafe extern "C" {
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    fn ftruncate(file: c_int, size: i64) -> c_int;
}

/// So large, and zero.
pub fn file(size: usize) -> c_int {
    // SAFETY: a name that ends.
    let file = unsafe { memfd_create(c"memory".as_ptr(), 0) };
    // SAFETY: a file of this process's.
    assert_eq!(unsafe { ftruncate(file, size.try_into().unwrap()) }, 0);
    file
}
