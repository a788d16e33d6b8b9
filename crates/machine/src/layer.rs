//! What a machine has written, before others stand on it: the file's header is looked at, since a
//! QEMU that its guest has taken over could have written any.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::DISK_GIB;

/// As much of a qcow2 header as is looked at, up to the features.
const HEADER_BYTES: usize = 104;
const MAGIC: u32 = u32::from_be_bytes(*b"QFI\xfb");
/// Set while QEMU writes lazily, which ours do not, and after it was killed meanwhile.
const DIRTY: u64 = 1;

/// Why a file is no layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("its header {0}")]
    Header(&'static str),
}

/// Checks that a file is what a machine's overlay is made as: a qcow2 of a root disk's size that
/// names no other file.
pub fn check_layer(path: &Path) -> Result<(), LayerError> {
    let mut header = [0; HEADER_BYTES];
    File::open(path)?.read_exact(&mut header)?;
    check_header(&header).map_err(LayerError::Header)
}

fn check_header(header: &[u8; HEADER_BYTES]) -> Result<(), &'static str> {
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    let short = |at: usize| long(at) >> 32;
    let checks = [
        (short(0) == u64::from(MAGIC), "is not a qcow2's"),
        (short(4) == 3, "is of another version"),
        (long(8) == 0 && short(16) == 0, "names a backing file"),
        (long(24) == DISK_GIB << 30, "tells another size"),
        (short(32) == 0, "says that it is encrypted"),
        (short(60) == 0, "tells of internal snapshots"),
        // Among the others are an external data file, and what QEMU itself found to be damaged.
        (long(72) & !DIRTY == 0, "has features that ours have not"),
    ];
    match checks.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(why),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(b"QFI\xfb");
        header[7] = 3;
        header[24..32].copy_from_slice(&(DISK_GIB << 30).to_be_bytes());
        header
    }

    #[test]
    fn a_layer_names_no_other_file() {
        assert_eq!(check_header(&good()), Ok(()));
        for (at, why) in [
            (0, "is not a qcow2's"),
            (7, "is of another version"),
            (15, "names a backing file"),
            (19, "names a backing file"),
            (31, "tells another size"),
            (35, "says that it is encrypted"),
            (63, "tells of internal snapshots"),
            (72, "has features that ours have not"),
        ] {
            let mut header = good();
            header[at] ^= 0x40;
            assert_eq!(check_header(&header), Err(why), "{at}");
        }
        for (feature, is_fine) in [(1, true), (2, false), (4, false), (8, false), (16, false)] {
            let mut header = good();
            header[79] = feature;
            assert_eq!(check_header(&header).is_ok(), is_fine, "{feature}");
        }
    }

    #[tokio::test]
    async fn what_overlays_are_made_as_is_a_layer() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.qcow2");
        crate::make_blank_overlay(folder.path(), &file).await.unwrap();
        check_layer(&file).unwrap();
        std::fs::write(&file, b"QFI").unwrap();
        assert!(matches!(check_layer(&file), Err(LayerError::Io(_))));
    }
}
