//! Functions that give a number.

const MOVE: u8 = 0xb8;
const RETURN: u8 = 0xc3;

/// `mov eax, NUMBER` and `ret`.
pub fn function(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_le_bytes();
    [MOVE, a, b, c, d, RETURN]
}

pub fn call(at: usize) -> u32 {
    // SAFETY: whole code was written there, which keeps to the rules of calls.
    unsafe { std::mem::transmute::<usize, extern "C" fn() -> u32>(at)() }
}
