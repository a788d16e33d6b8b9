//! The kernel proper out of Linux's x86 boot image (Documentation/arch/x86/boot.rst).

use std::io::{self, Read};

/// Far more than any kernel needs.
const VMLINUX_BYTES_MAX: u64 = 1 << 30;
const SECTOR_BYTES: usize = 512;
/// The first version of the boot protocol that says where the payload is: 2.08.
const PROTOCOL_MIN: u16 = 0x0208;

#[derive(Debug, thiserror::Error)]
pub enum BzImageError {
    #[error("it is no Linux boot image")]
    NotBootImage,
    #[error("its header points outside of it")]
    PayloadOutside,
    #[error("it is packed with {format}, which is not supported; zstd and gzip are")]
    Format { format: &'static str },
    #[error("its payload does not unpack")]
    Unpack(#[source] io::Error),
    #[error("it unpacks to more than {VMLINUX_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it has no PVH entry (CONFIG_PVH), through which QEMU would start it")]
    NoPvhEntry,
}

/// The uncompressed ELF inside of `image`.
pub(super) fn vmlinux(image: &[u8]) -> Result<Vec<u8>, BzImageError> {
    let payload = payload(image)?;
    let vmlinux = match payload {
        // The frame is followed by four bytes with the unpacked size, which are not zstd's.
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(payload);
            unpack(decoder.map_err(BzImageError::Unpack)?.single_frame())?
        }
        [0x1f, 0x8b, ..] => unpack(flate2::bufread::GzDecoder::new(payload))?,
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return Err(BzImageError::Format { format: "xz" }),
        [b'B', b'Z', b'h', ..] => return Err(BzImageError::Format { format: "bzip2" }),
        [0x5d, 0, 0, ..] => return Err(BzImageError::Format { format: "lzma" }),
        [0x89, b'L', b'Z', b'O', ..] => return Err(BzImageError::Format { format: "lzo" }),
        [0x02, 0x21, 0x4c, 0x18, ..] => return Err(BzImageError::Format { format: "lz4" }),
        _ => return Err(BzImageError::Format { format: "something unknown" }),
    };
    if has_pvh_entry(&vmlinux) { Ok(vmlinux) } else { Err(BzImageError::NoPvhEntry) }
}

fn payload(image: &[u8]) -> Result<&[u8], BzImageError> {
    let is_boot_image = bytes::<2>(image, 0x1fe) == Some([0x55, 0xaa])
        && bytes::<4>(image, 0x202) == Some(*b"HdrS")
        && bytes(image, 0x206).is_some_and(|v| u16::from_le_bytes(v) >= PROTOCOL_MIN);
    if !is_boot_image {
        return Err(BzImageError::NotBootImage);
    }
    let find = || {
        let sectors = match *image.get(0x1f1)? {
            0 => 4,
            sectors => usize::from(sectors),
        };
        let offset = usize::try_from(u32_at(image, 0x248)?).ok()?;
        let len = usize::try_from(u32_at(image, 0x24c)?).ok()?;
        let start = ((sectors + 1) * SECTOR_BYTES).checked_add(offset)?;
        image.get(start..start.checked_add(len)?)
    };
    find().ok_or(BzImageError::PayloadOutside)
}

fn unpack(decoder: impl Read) -> Result<Vec<u8>, BzImageError> {
    let mut vmlinux = Vec::new();
    let mut bounded = decoder.take(VMLINUX_BYTES_MAX + 1);
    let len = bounded.read_to_end(&mut vmlinux).map_err(BzImageError::Unpack)?;
    if len as u64 > VMLINUX_BYTES_MAX { Err(BzImageError::TooLarge) } else { Ok(vmlinux) }
}

/// Whether one of the ELF's notes is Xen's `PHYS32_ENTRY`.
fn has_pvh_entry(elf: &[u8]) -> bool {
    const ELF64_LITTLE_ENDIAN: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
    const PT_NOTE: u32 = 4;
    let segments = || {
        let table = usize::try_from(u64::from_le_bytes(bytes(elf, 32)?)).ok()?;
        let entry_bytes = usize::from(u16::from_le_bytes(bytes(elf, 54)?));
        let entries = usize::from(u16::from_le_bytes(bytes(elf, 56)?));
        Some((table, entry_bytes, entries))
    };
    let Some((table, entry_bytes, entries)) = segments() else { return false };
    let notes = |index: usize| {
        let header = elf.get(table.checked_add(index * entry_bytes)?..)?;
        if u32_at(header, 0)? != PT_NOTE {
            return None;
        }
        let start = usize::try_from(u64::from_le_bytes(bytes(header, 8)?)).ok()?;
        let len = usize::try_from(u64::from_le_bytes(bytes(header, 32)?)).ok()?;
        elf.get(start..start.checked_add(len)?)
    };
    elf.starts_with(&ELF64_LITTLE_ENDIAN)
        && (0..entries).filter_map(notes).any(|notes| has_entry_note(notes).is_some())
}

fn has_entry_note(mut notes: &[u8]) -> Option<()> {
    const PHYS32_ENTRY: u32 = 18;
    while !notes.is_empty() {
        let name_len = usize::try_from(u32_at(notes, 0)?).ok()?;
        let value_len = usize::try_from(u32_at(notes, 4)?).ok()?;
        let value_at = 12_usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let name = notes.get(12..12_usize.checked_add(name_len)?)?;
        if u32_at(notes, 8)? == PHYS32_ENTRY && name == b"Xen\0" {
            return Some(());
        }
        let next = value_at.checked_add(value_len.checked_next_multiple_of(4)?)?;
        notes = notes.get(next..)?;
    }
    None
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk().copied()
}

fn u32_at(from: &[u8], at: usize) -> Option<u32> {
    bytes(from, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests;
