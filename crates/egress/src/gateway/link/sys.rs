//! How the process holds large pieces of memory.

#![expect(unsafe_code, reason = "the C library's allocator is told by a call of its own")]

/// Pieces of so many bytes or more have pages of their own. It is where the GNU allocator begins by
/// itself, and above what is copied through the heap all the time.
pub(super) const APART: usize = 128 << 10;
/// So much unused memory is kept at the heap's end before it is given back.
#[cfg(target_env = "gnu")]
const KEPT: usize = 1 << 20;

/// Has each large buffer of a connection in pages of its own, which take no memory before they are
/// used and are given back with it. By itself the GNU allocator does so only until the first of them
/// is freed; from then on it takes old pieces and fills them with zeros, and an idle connection
/// costs as much as one whose buffers are full.
pub(super) fn hold_buffers_apart() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, APART), (libc::M_TRIM_THRESHOLD, KEPT)] {
        let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
        // SAFETY: it sets a number of the allocator, which is valid at any time.
        let taken = unsafe { libc::mallopt(parameter, value) };
        if taken != 1 {
            tracing::warn!("the allocator keeps its own ways");
        }
    }
}
