//! What a machine has written, before anything else stands on it: the file's header is looked at, since a
//! QEMU that its guest has taken over could have written any.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

/// As much of a qcow2 header as is looked at, up to the features.
const HEADER_BYTES: usize = 104;
const MAGIC: u32 = u32::from_be_bytes(*b"QFI\xfb");
/// Set while QEMU writes lazily, which ours do not, and after it was killed meanwhile.
const DIRTY: u64 = 1;
/// The longest name of a backing file that QEMU takes.
const NAME_BYTES_MAX: usize = 1023;

/// Why a file is no layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("its header {0}")]
    Header(&'static str),
}

/// Checks that a file is what a machine's overlay is made as: a qcow2 that names no other file, of a disk of
/// so many bytes if that is known.
pub fn check_layer(path: &Path, bytes: Option<u64>) -> Result<(), LayerError> {
    let mut file = File::open(path)?;
    let mut header = [0; HEADER_BYTES];
    file.read_exact(&mut header)?;
    let (at, length) = check_header(&header, bytes).map_err(LayerError::Header)?;
    // QEMU leaves an empty one where layers were merged.
    let mut name = vec![0; length];
    file.read_exact_at(&mut name, at)?;
    match name.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(LayerError::Header("names a backing file")),
    }
}

/// Says where the name of a backing file is, and how long.
fn check_header(
    header: &[u8; HEADER_BYTES],
    bytes: Option<u64>,
) -> Result<(u64, usize), &'static str> {
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    let short = |at: usize| long(at) >> 32;
    let name_bytes = usize::try_from(short(16)).unwrap_or(usize::MAX);
    let checks = [
        (short(0) == u64::from(MAGIC), "is not a qcow2's"),
        (short(4) == 3, "is of another version"),
        (name_bytes <= NAME_BYTES_MAX, "names a backing file"),
        (bytes.is_none_or(|bytes| long(24) == bytes), "tells another size"),
        (short(32) == 0, "says that it is encrypted"),
        (short(60) == 0, "tells of internal snapshots"),
        // Among the others are an external data file, and what QEMU itself found to be damaged.
        (long(72) & !DIRTY == 0, "has features that ours have not"),
    ];
    match checks.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(why),
        None => Ok((long(8), name_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 30;

    fn good() -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(b"QFI\xfb");
        header[7] = 3;
        header[24..32].copy_from_slice(&SIZE.to_be_bytes());
        header
    }

    #[test]
    fn a_layer_is_as_ours_are_made() {
        assert_eq!(check_header(&good(), Some(SIZE)), Ok((0, 0)));
        for (at, why) in [
            (0, "is not a qcow2's"),
            (7, "is of another version"),
            (18, "names a backing file"),
            (31, "tells another size"),
            (35, "says that it is encrypted"),
            (63, "tells of internal snapshots"),
            (72, "has features that ours have not"),
        ] {
            let mut header = good();
            header[at] ^= 0x40;
            assert_eq!(check_header(&header, Some(SIZE)), Err(why), "{at}");
        }
        for (feature, is_fine) in [(1, true), (2, false), (4, false), (8, false), (16, false)] {
            let mut header = good();
            header[79] = feature;
            assert_eq!(check_header(&header, None).is_ok(), is_fine, "{feature}");
        }
    }

    #[test]
    fn a_layer_names_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layer.qcow2");
        let check = |name: &[u8]| {
            let mut bytes = good().to_vec();
            bytes[15] = u8::try_from(HEADER_BYTES).unwrap();
            bytes[19] = u8::try_from(name.len()).unwrap();
            bytes.extend(name);
            std::fs::write(&file, bytes).unwrap();
            check_layer(&file, Some(SIZE))
        };
        check(b"").unwrap();
        check(&[0; 16]).unwrap();
        for name in [&b"/etc/passwd"[..], b"\0a"] {
            let refused = check(name).unwrap_err();
            assert!(matches!(refused, LayerError::Header("names a backing file")), "{refused}");
        }
    }

    #[tokio::test]
    async fn what_overlays_are_made_as_is_a_layer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.qcow2");
        crate::make_blank_overlay(folder.path(), &file).await.unwrap();
        check_layer(&file, Some(crate::DISK_GIB << 30)).unwrap();
        std::fs::write(&file, b"QFI").unwrap();
        assert!(matches!(check_layer(&file, None), Err(LayerError::Io(_))));
    }
}
