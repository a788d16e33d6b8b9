//! What a processor makes of vectors, a line a trial, always the same ones: the same program on the host and in a
//! guest. Its arguments are the features that both have. Built alone and statically.

mod chance;

use std::{arch::asm, env};

use chance::Chance;

const TRIALS: usize = 40;
const LANES: usize = 4;

/// As 256-bit registers have it.
type Vector = [u64; LANES];

/// Also what there is little of by chance.
fn vector(chance: &mut Chance) -> Vector {
    match chance.below(8) {
        0 => [0; LANES],
        1 => [u64::MAX; LANES],
        2 => [0x8080_0f0f_7f7f_8f00; LANES],
        _ => [(); LANES].map(|()| chance.next()),
    }
}

/// With something in `xmm0` to `xmm2`, and behind `rdx`: what these instructions leave in all of them.
macro_rules! instructions {
    ($feature:literal: $($text:literal)+) => {
        if env::args().any(|feature| feature == $feature) {
            $(
                let mut chance = Chance(1);
                for trial in 0..TRIALS {
                    let mut registers = [(); 3].map(|()| vector(&mut chance));
                    let operand = Operand(vector(&mut chance));
                    let count: u64;
                    // SAFETY: the feature is there; what is read and written is as long as what is here.
                    unsafe {
                        asm!(
                            "vmovdqu ymm0, [{at}]", "vmovdqu ymm1, [{at} + 32]", "vmovdqu ymm2, [{at} + 64]",
                            "xor eax, eax",
                            $text,
                            "vmovdqu [{at}], ymm0", "vmovdqu [{at} + 32], ymm1", "vmovdqu [{at} + 64], ymm2",
                            "vzeroupper",
                            at = in(reg) registers.as_mut_ptr(), inout("rdx") &raw const operand => _,
                            out("rax") count, out("ymm0") _, out("ymm1") _, out("ymm2") _,
                        );
                    }
                    println!("{} {trial}: {registers:x?} {count:x}", $text);
                }
            )+
        }
    };
}

/// As legacy instructions want what is in memory to be aligned.
#[repr(align(32))]
struct Operand(#[expect(dead_code, reason = "read by its address")] Vector);

fn main() {
    instructions! { "ssse3":
        "pshufb xmm1, xmm2" "pshufb xmm1, xmm1" "pshufb xmm1, [rdx]"
        "palignr xmm1, xmm2, 5" "pmulhrsw xmm1, xmm2" "phaddd xmm1, xmm2"
    }
    instructions! { "aes":
        "aesenc xmm1, xmm2" "aesenc xmm1, [rdx]" "aesenclast xmm1, xmm1" "aesdec xmm1, xmm2" "aesdeclast xmm1, xmm2"
        "aesimc xmm1, xmm2" "aeskeygenassist xmm1, xmm2, 27"
    }
    instructions! { "pclmulqdq":
        "pclmulqdq xmm1, xmm2, 0" "pclmulqdq xmm1, xmm2, 1" "pclmulqdq xmm1, xmm1, 16" "pclmulqdq xmm1, [rdx], 17"
    }
    instructions! { "sha":
        "sha1rnds4 xmm1, xmm2, 0" "sha1rnds4 xmm1, xmm2, 1" "sha1rnds4 xmm1, xmm2, 2" "sha1rnds4 xmm1, xmm2, 3"
        "sha1rnds4 xmm1, xmm1, 1" "sha1rnds4 xmm1, [rdx], 2"
        "sha1nexte xmm1, xmm2" "sha1nexte xmm1, xmm1" "sha1nexte xmm1, [rdx]"
        "sha1msg1 xmm1, xmm2" "sha1msg1 xmm1, xmm1" "sha1msg1 xmm1, [rdx]"
        "sha1msg2 xmm1, xmm2" "sha1msg2 xmm1, xmm1" "sha1msg2 xmm1, [rdx]"
        "sha256rnds2 xmm1, xmm2, xmm0" "sha256rnds2 xmm1, xmm1, xmm0" "sha256rnds2 xmm1, [rdx], xmm0"
        "sha256rnds2 xmm0, xmm2, xmm0"
        "sha256msg1 xmm1, xmm2" "sha256msg1 xmm1, xmm1" "sha256msg1 xmm1, [rdx]"
        "sha256msg2 xmm1, xmm2" "sha256msg2 xmm1, xmm1" "sha256msg2 xmm1, [rdx]"
    }
    instructions! { "avx2":
        "vpshufb xmm0, xmm1, xmm2" "vpshufb ymm0, ymm1, ymm2" "vpshufb ymm1, ymm1, ymm1" "vpshufb ymm0, ymm1, [rdx]"
        "vaesenc xmm0, xmm1, xmm2"
        "vpaddb ymm0, ymm1, ymm2" "vpaddd ymm0, ymm0, ymm1" "vpsubq ymm0, ymm1, [rdx]" "vpaddusw ymm0, ymm1, ymm2"
        "vpmulld ymm0, ymm1, ymm2" "vpmuludq ymm0, ymm1, ymm2"
        "vpand ymm0, ymm1, ymm2" "vpandn ymm0, ymm1, ymm2" "vpxor ymm0, ymm1, ymm0" "vpor xmm0, xmm1, xmm2"
        "vpslld ymm0, ymm1, 7" "vpsrlq ymm0, ymm1, 61" "vpsrad ymm0, ymm1, 31" "vpslldq ymm0, ymm1, 3"
        "vpsllvd ymm0, ymm1, ymm2" "vpsrlvq ymm0, ymm1, ymm2" "vpsravd ymm0, ymm1, ymm2"
        "vpcmpeqb ymm0, ymm1, ymm2" "vpcmpgtd ymm0, ymm1, ymm2" "vpminub ymm0, ymm1, ymm2" "vpmaxsd ymm0, ymm1, ymm2"
        "vpabsw ymm0, ymm1" "vpmovmskb eax, ymm1" "vptest ymm1, ymm2; sete al; adc al, al"
        "vpermq ymm0, ymm1, 0x1b" "vpermd ymm0, ymm1, ymm2" "vperm2i128 ymm0, ymm1, ymm2, 0x31"
        "vpunpckhbw ymm0, ymm1, ymm2" "vpackuswb ymm0, ymm1, ymm2" "vpalignr ymm0, ymm1, ymm2, 9"
        "vpblendvb ymm0, ymm1, ymm2, ymm0" "vpblendd ymm0, ymm1, ymm2, 0x5a" "vpbroadcastb ymm0, xmm1"
        "vpbroadcastd ymm0, [rdx]" "vinserti128 ymm0, ymm1, xmm2, 1" "vextracti128 xmm0, ymm1, 1"
        "vpmovzxbw ymm0, xmm1" "vpmovsxdq ymm0, [rdx]" "vmovdqa ymm0, [rdx]" "vmovdqu xmm0, [rdx]" "vpxor xmm0, xmm0, xmm0"
    }
}
