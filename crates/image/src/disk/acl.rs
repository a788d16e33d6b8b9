//! POSIX access control lists: tar carries them as the kernel's interface has them, and ext4 keeps
//! them in a shorter form of its own.

const INTERFACE_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
const OWNERS_AND_REST: [u16; 4] = [0x01, 0x04, 0x10, 0x20];

/// The form on disk, or nothing for what is no access control list.
pub(super) fn on_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk()?;
    if u32::from_le_bytes(*version) != INTERFACE_VERSION || entries.len() % 8 != 0 {
        return None;
    }
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries.as_chunks::<8>().0 {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        // Only an entry for someone named says for whom.
        match tag {
            USER | GROUP => disk.extend_from_slice(entry),
            _ if OWNERS_AND_REST.contains(&tag) => disk.extend_from_slice(&entry[..4]),
            _ => return None,
        }
    }
    Some(disk)
}
