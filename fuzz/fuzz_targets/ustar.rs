//! Pieces of tar streams, with checksums and lengths that are right.

pub fn header(name: &[u8], kind: u8, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    let len = name.len().min(100);
    block[..len].copy_from_slice(&name[..len]);
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

pub fn put(out: &mut Vec<u8>, block: &mut [u8; 512], content: &[u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend(&*block);
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let fits = (1..).find(|digits| (rest + digits).to_string().len() == *digits);
    let len = rest + fits.expect("some number of digits fits");
    [format!("{len} ").as_bytes(), key, b"=", value, b"\n"].concat()
}
