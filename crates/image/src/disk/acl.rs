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

/// The form of the kernel's interface, out of that on disk.
pub(crate) fn of_disk(value: &[u8]) -> Option<Vec<u8>> {
    const UNSAID: [u8; 4] = u32::MAX.to_le_bytes();
    let (version, mut rest) = value.split_first_chunk()?;
    if u32::from_le_bytes(*version) != DISK_VERSION {
        return None;
    }
    let mut interface = INTERFACE_VERSION.to_le_bytes().to_vec();
    while let Some((entry, after)) = rest.split_first_chunk::<4>() {
        interface.extend_from_slice(entry);
        rest = match u16::from_le_bytes([entry[0], entry[1]]) {
            USER | GROUP => {
                let (whom, after) = after.split_first_chunk::<4>()?;
                interface.extend_from_slice(whom);
                after
            }
            tag if OWNERS_AND_REST.contains(&tag) => {
                interface.extend_from_slice(&UNSAID);
                after
            }
            _ => return None,
        };
    }
    rest.is_empty().then_some(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut value = INTERFACE_VERSION.to_le_bytes().to_vec();
        for (tag, whom) in [(0x01, u32::MAX), (USER, 1000), (0x04, u32::MAX), (0x20, u32::MAX)] {
            value.extend([tag.to_le_bytes(), 7_u16.to_le_bytes()].concat());
            value.extend(whom.to_le_bytes());
        }
        let disk = on_disk(&value).unwrap();
        assert_eq!(of_disk(&disk).unwrap(), value);
        for cut in 1..disk.len() {
            assert_ne!(of_disk(&disk[..cut]), Some(value.clone()));
        }
        assert_eq!(of_disk(b""), None);
    }
}
