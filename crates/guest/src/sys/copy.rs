//! Copying much at a time.

use std::arch::asm;

/// Less is copied sooner than the instruction begins.
const WORTH_IT: usize = 1024;
const WORD: usize = 8;

/// Copies as much as there is and has room, and says how much. By the string instruction that the kernel copies by: an
/// emulator of ours has the host do it (docs/decisions/0030), and others and processors are as fast by it as by vectors.
pub(crate) fn copy(from: &[u8], into: &mut [u8]) -> usize {
    let count = from.len().min(into.len());
    let (from, into) = (&from[..count], &mut into[..count]);
    if count < WORTH_IT {
        into.copy_from_slice(from);
        return count;
    }
    let words = count / WORD;
    // SAFETY: both are as long, neither is the other, and the direction is up by the rules of calls.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") words => _, inout("rsi") from.as_ptr() => _, inout("rdi") into.as_mut_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
    into[words * WORD..].copy_from_slice(&from[words * WORD..]);
    count
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn all_that_fits_is_copied_and_nothing_beside_it() {
        let from: Vec<u8> = (0..=250).cycle().take(9000).collect();
        for (have, room) in [(0, 5), (5, 0), (1023, 2000), (1024, 1024), (1031, 4000), (8999, 8191)]
        {
            for start in 0..9 {
                let mut into = vec![0xff; room + start + 1];
                let end = into.len() - 1;
                let copied = copy(&from[start.min(have)..have], &mut into[start..end]);
                assert_eq!(copied, (have - start.min(have)).min(room));
                assert_eq!(into[start..][..copied], from[start.min(have)..][..copied]);
                assert!(
                    into[..start].iter().chain(&into[start + copied..]).all(|byte| *byte == 0xff)
                );
            }
        }
    }
}
