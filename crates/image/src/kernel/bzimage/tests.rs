use std::io::Write as _;

use super::*;

/// The least that counts as a kernel: an ELF header, one program header, one note after another.
fn elf(notes: &[(&[u8], u32, &[u8])]) -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
    elf[54..56].copy_from_slice(&56_u16.to_le_bytes());
    elf[56..58].copy_from_slice(&1_u16.to_le_bytes());
    elf[64..68].copy_from_slice(&4_u32.to_le_bytes());
    elf[72..80].copy_from_slice(&120_u64.to_le_bytes());
    for (name, kind, value) in notes {
        for number in
            [u32::try_from(name.len()).unwrap(), u32::try_from(value.len()).unwrap(), *kind]
        {
            elf.extend_from_slice(&number.to_le_bytes());
        }
        for text in [name, value] {
            elf.extend_from_slice(text);
            elf.resize(elf.len().next_multiple_of(4), 0);
        }
    }
    let notes_len = (elf.len() - 120) as u64;
    elf[96..104].copy_from_slice(&notes_len.to_le_bytes());
    elf
}

fn kernel() -> Vec<u8> {
    elf(&[(b"GNU\0", 3, b"abcde"), (b"Xen\0", 18, &[0, 0, 0, 1])])
}

fn boot_image(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 5 * 512];
    image[0x1f1] = 2;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x248..0x24c].copy_from_slice(&1024_u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    image.extend_from_slice(payload);
    image.extend_from_slice(b"what follows is not the payload");
    image
}

fn zstd_image(kernel: &[u8]) -> Vec<u8> {
    let mut payload = zstd::encode_all(kernel, 3).unwrap();
    payload.extend_from_slice(&u32::try_from(kernel.len()).unwrap().to_le_bytes());
    boot_image(&payload)
}

#[test]
fn zstd_and_gzip_are_unpacked() {
    let kernel = kernel();
    assert_eq!(vmlinux(&zstd_image(&kernel)).unwrap(), kernel);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&kernel).unwrap();
    assert_eq!(vmlinux(&boot_image(&gzip.finish().unwrap())).unwrap(), kernel);
}

#[test]
fn other_forms_are_named() {
    let format = |payload: &[u8]| vmlinux(&boot_image(payload)).unwrap_err().to_string();
    assert!(format(&[0xfd, b'7', b'z', b'X', b'Z', 0]).contains("packed with xz,"));
    assert!(format(&[0x02, 0x21, 0x4c, 0x18]).contains("packed with lz4,"));
    assert!(format(b"").contains("something unknown"));
}

#[test]
fn a_kernel_without_pvh_is_refused() {
    for kernel in [
        elf(&[]),
        elf(&[(b"Xen\0", 17, &[0; 4])]),
        elf(&[(b"GNU\0", 18, &[0; 4])]),
        b"no ELF at all".to_vec(),
    ] {
        let result = vmlinux(&zstd_image(&kernel));
        assert!(matches!(result, Err(BzImageError::NoPvhEntry)), "{result:?}");
    }
}

#[test]
fn what_is_no_boot_image_is_refused() {
    let image = zstd_image(&kernel());
    for at in [0x1fe, 0x202, 0x207] {
        let mut image = image.clone();
        image[at] = 0;
        assert!(matches!(vmlinux(&image), Err(BzImageError::NotBootImage)), "{at:#x}");
    }
    assert!(matches!(vmlinux(&image[..0x300]), Err(BzImageError::PayloadOutside)));
    for field in [0x248, 0x24c] {
        let mut image = image.clone();
        image[field..field + 4].fill(0xff);
        assert!(matches!(vmlinux(&image), Err(BzImageError::PayloadOutside)), "{field:#x}");
    }
}

#[test]
fn no_cut_and_no_changed_byte_makes_it_panic() {
    let image = zstd_image(&kernel());
    for len in 0..image.len() {
        let _result = vmlinux(&image[..len]);
    }
    let elf = kernel();
    for at in 0..elf.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut elf = elf.clone();
            elf[at] = byte;
            let _result = has_pvh_entry(&elf);
        }
    }
}
