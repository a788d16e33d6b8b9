//! SHA-1: what OpenSSL names certificates by and Java seals keystores with. Nothing here rests on it
//! being hard to collide.

/// The digest of all parts together.
pub(super) fn digest(parts: &[&[u8]]) -> [u8; 20] {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut block = [0; 64];
    let mut used = 0;
    let mut bits: u64 = 0;
    for &byte in parts.iter().copied().flatten() {
        block[used] = byte;
        used += 1;
        bits += 8;
        if used == block.len() {
            mix(&mut state, &block);
            used = 0;
        }
    }
    block[used..].fill(0);
    block[used] = 0x80;
    if used >= 56 {
        mix(&mut state, &block);
        block.fill(0);
    }
    block[56..].copy_from_slice(&bits.to_be_bytes());
    mix(&mut state, &block);
    let mut digest = [0; 20];
    for (to, word) in digest.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn mix(state: &mut [u32; 5], block: &[u8; 64]) {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for n in 16..words.len() {
        words[n] = (words[n - 3] ^ words[n - 8] ^ words[n - 14] ^ words[n - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (n, word) in words.into_iter().enumerate() {
        let (f, k) = match n {
            0..20 => (b & c | !b & d, 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next =
            a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(word);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(parts: &[&[u8]]) -> String {
        digest(parts).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        let table: [(&[&[u8]], &str); 4] = [
            (&[], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (&[b"a", b"", b"bc"], "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                &[b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"],
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (&[&[b'a'; 1_000_000]], "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        ];
        for (parts, expected) in table {
            assert_eq!(hex(parts), expected);
        }
    }
}
